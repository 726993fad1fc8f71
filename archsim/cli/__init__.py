"""The command line: results on stdout, progress and problems on stderr, an exit status that scripts can rely on.

0 done · 1 internal fault · 2 input is wrong · 3 the mapping does not fit · 4 deadlock · 5 outside a published
tolerance · 130 interrupted.
"""

import os
import sys

from archsim.cli.status import DEADLOCK, DONE, FAULT, INTERRUPTED, OUTSIDE, UNFIT, WRONG

__all__ = ["DEADLOCK", "DONE", "FAULT", "INTERRUPTED", "OUTSIDE", "UNFIT", "WRONG", "entry", "main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    try:
        # Here, because most interrupts of a short command come while its packages are loaded.
        from archsim.cli.outcome import outcome

        return outcome(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


def entry() -> None:
    """The console script."""
    status = main()
    import signal  # not at the top: until main runs, an interrupt gives a traceback

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said; what is left would be a traceback of Python's end
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            # Drops what it cannot take, of which Python would complain as it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if status == INTERRUPTED:
        os._exit(status)  # Python would at times end by the signal, and wait for threads
    sys.exit(status)
