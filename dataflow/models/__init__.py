"""Networks: their dimensions, the ops of their layers, and the graph of each phase."""
