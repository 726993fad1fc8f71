"""What the exit status of a command says to scripts."""

DONE, FAULT, WRONG, UNFIT, DEADLOCK, OUTSIDE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
