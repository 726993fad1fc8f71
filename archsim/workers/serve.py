"""A process that answers tasks of another: it reads them from a socket, one after another, until that is closed.

It is started afresh, so that it shares no locks and threads with its parent, and a script needs no entry guard.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from archsim.errors import InputError
from archsim.workers.lost import Lost

# New objects between looks for circles of them. Tasks leave few circles, and Python's 700 cost a tenth of the time.
OBJECTS = 10_000
ORPHAN_SECONDS = 0.5  # between looks whether the parent is there


def serve(descriptor: int, parent: int) -> None:
    """Answers (place, task) with (place, answer); first comes an Opening, which is answered with what is wrong.

    Where the parent has died it removes the folder of the opening, as the parent would have.
    """
    gc.set_threshold(OBJECTS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends this process
    with Connection(descriptor) as line:
        watch: threading.Thread | None = None
        try:
            opening: Any = line.recv()
            watch = threading.Thread(target=_end_with, args=(parent, opening.runs), daemon=True)
            watch.start()
            answer = opening.read()
            line.send(None)
            while True:
                place, task = line.recv()
                line.send((place, _answered(answer, task)))
        except InputError as error:
            line.send(error)
        except (EOFError, OSError):  # the parent has closed the line, or is gone
            if watch:
                watch.join(2 * ORPHAN_SECONDS)


def _answered(answer: Any, task: Any) -> Any:
    try:
        return answer(task)
    except Exception as fault:
        traceback.print_exc()
        return Lost(f"internal fault: {type(fault).__name__}: {fault}")


def _end_with(parent: int, folder: str | None) -> None:
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
