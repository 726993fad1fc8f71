"""Children that hear an interrupt."""

import signal


def hear() -> None:
    """Run in a child before its program: a background job ignores interrupts, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
