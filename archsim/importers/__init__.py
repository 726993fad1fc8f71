"""Files of other tools, read as designs and graphs."""
