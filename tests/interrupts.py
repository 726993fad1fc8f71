"""Children that hear an interrupt, and the end of their terminal."""

import signal


def hear() -> None:
    """Run in a child before its program: a background job ignores interrupts, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as one that nohup began ignores
