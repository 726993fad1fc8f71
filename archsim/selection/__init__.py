"""Which cached keys a step attends to: the selection as a file, the keys it runs on, and its run."""
