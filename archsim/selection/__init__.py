"""Which cached keys a step attends to: the file of a selection, the keys that its rule runs on, and the run."""
