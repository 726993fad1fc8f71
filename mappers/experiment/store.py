"""Store: the rows of sweeps in an SQLite file, each under its key. One process at a time writes it.

Knows rows and keys. Does not know how a point is run, nor which points a sweep has.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from archsim.errors import InputError, quoted
from archsim.files.json_text import finite, json_line
from archsim.report.rows.row import Row, plain_value

APPLICATION, FORMAT = 0x61726373, 1  # marks a file as a store, and the form of its tables
TABLES = """
CREATE TABLE rows (key TEXT PRIMARY KEY, inputs TEXT NOT NULL, settings TEXT NOT NULL, figures TEXT NOT NULL,
                   caveats TEXT NOT NULL, status TEXT NOT NULL, problem TEXT);
CREATE TABLE inputs (hash TEXT PRIMARY KEY, named TEXT NOT NULL);
CREATE TABLE owner (told TEXT NOT NULL);
"""
# Rows of these are run again: the point was not finished, or ended in a fault that may have been of the moment.
AGAIN = ("lost", "fault")
BUSY_SECONDS = 60  # to wait for another program that writes the file
AT_FAULT = ("full", "locked", "readonly", "I/O", "unable to open")  # errors after which what was written is as it was


class Store:
    """The rows of a file by key, open for this process alone; a context that closes it.

    Each row is written in a transaction of its own, so that a process that is killed loses only what it had not
    finished. `inputs` are the hashes of what all points of the sweep share, by name, and `base` is that of them all.
    Without `resume` the file must have no rows. Raises InputError where the file is another one's, cannot be read or
    written, or is in use, with the name of the process that uses it.
    """

    def __init__(self, path: str | os.PathLike[str], *, inputs: Mapping[str, str], base: str, resume: bool) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise InputError(f"store: expected the path of a file, got {quoted(path)}")
        self.path, self.base = os.fspath(path), base
        _refuse_another(self.path)
        # One file, however it is named, has one lock.
        self._real = os.path.realpath(self.path)
        self._lock = FileLock(f"{self._real}.lock", timeout=0)
        self._database: sqlite3.Connection | None = None
        try:
            self._open(inputs, resume)
        except BaseException:
            self.close()
            raise

    def _open(self, inputs: Mapping[str, str], resume: bool) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"{self._where}: {_owner(self._real)}; wait for it, or name another store") from None
        except (OSError, NotImplementedError) as error:
            raise InputError(f"{self._where}: cannot be written: {getattr(error, 'strerror', error)}") from None
        with self._held():
            self._database = database = sqlite3.connect(self._real, isolation_level=None, timeout=BUSY_SECONDS)
            if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                # Before the log, so that the marks stand in the file itself.
                marks = f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={FORMAT};"
                database.executescript(f"BEGIN;{TABLES}{marks}COMMIT;")
            # Readers may look on while rows are written, and no row waits for the disk.
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            there = database.execute("SELECT count(*) FROM rows").fetchone()[0]
            if there and not resume:
                told = "resume (--resume) goes on with them, or name another store"
                raise InputError(f"{self._where}: has {there:,} rows; {told}")
            database.execute("BEGIN")
            database.execute("DELETE FROM owner")
            database.execute("INSERT INTO owner VALUES (?)", (_me(),))
            database.execute("INSERT OR IGNORE INTO inputs VALUES (?, ?)", (self.base, json_line(dict(inputs))))
            database.execute("COMMIT")
            self._file = _file(self._real)

    def row(self, key: str, settings: Mapping[str, Any]) -> Row | None:
        """The row of this key, with its settings as given; None where there is none, or it was lost."""
        with self._held():
            found = self._connection.execute(
                "SELECT figures, caveats, status, problem FROM rows WHERE key = ?", (key,)
            ).fetchone()
        if found is None or found[2] in AGAIN:
            return None
        figures, caveats, status, problem = found
        try:
            return Row(settings, json.loads(figures), tuple(json.loads(caveats)), status, problem)
        except (ValueError, TypeError):  # somebody has edited it
            return None

    def put(self, key: str, row: Row) -> None:
        """Writes a row, in place of one of the same key. Raises InputError where it cannot; what is there stays."""
        settings = {path: plain_value(value) for path, value in row.settings.items()}
        said = (json_line(finite(settings)), json_line(finite(row.figures)), json_line(list(row.caveats)))
        if _file(self._real) != self._file:
            raise InputError(f"{self._where}: was moved or removed while the sweep ran, and rows with it; sweep again")
        with self._held():
            self._connection.execute(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key, self.base, *said, row.status, row.problem and _utf8(row.problem)),
            )

    def changed(self) -> tuple[int, tuple[str, ...]]:
        """The rows of other inputs, and the names of inputs that differ from those of the rows written last."""
        with self._held():
            ask = self._connection.execute
            others = ask("SELECT count(*) FROM rows WHERE inputs != ?", (self.base,)).fetchone()[0]
            last = ask("SELECT inputs FROM rows WHERE inputs != ? ORDER BY rowid DESC LIMIT 1", (self.base,)).fetchone()
            named = dict(ask("SELECT hash, named FROM inputs").fetchall())
        if last is None:
            return others, ()
        try:
            was, now = (json.loads(named[hash_]) for hash_ in (last[0], self.base))
        except (KeyError, ValueError):  # somebody has edited it
            return others, ()
        return others, tuple(name for name in {**was, **now} if was.get(name) != now.get(name))

    def close(self) -> None:
        """Closes the file and lets others have it."""
        if self._database is not None:
            self._database.close()
            self._database = None
        self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise InputError(f"{self._where}: is closed; sweep again with resume")
        return self._database

    @property
    def _where(self) -> str:
        return f"store {self.path}"

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Turns what SQLite says into an InputError."""
        try:
            yield
        except sqlite3.Error as error:
            told = "is damaged; name another store, or a copy of this one from before"
            if any(word in str(error) for word in AT_FAULT):
                told = "the rows written before are safe, and resume (--resume) goes on from them"
            raise InputError(f"{self._where}: {error}; {told}") from None


def _refuse_another(path: str) -> None:
    """Raises InputError where the file is there and is no store, or of another form."""
    where = f"store {path}" if path.isprintable() else f"store {path!r}"
    try:
        if "\0" in path:
            raise ValueError("embedded null character")
        if not Path(path).parent.is_dir():
            raise InputError(f"{where}: no folder {Path(path).parent}; make it first")
        if not os.path.exists(path):
            beside = [path + end for end in ("-wal", "-journal") if os.path.lexists(path + end)]
            if beside or os.path.islink(path):
                told = f"{beside[0]} is there already, and SQLite would take it away" if beside else "a link to nothing"
                raise InputError(f"{where}: {told}; name another file")
            return
        if not os.path.isfile(path):  # a pipe would wait for ever
            raise InputError(f"{where}: is no plain file; name one")
        with open(path, "rb") as file:
            head = file.read(100)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: cannot be read: {getattr(error, 'strerror', error)}") from None
    # The header of an SQLite file: https://www.sqlite.org/fileformat.html, fields user version and application id.
    version, mark = (int.from_bytes(head[at : at + 4], "big") for at in (60, 68))
    if head and (len(head) < 100 or not head.startswith(b"SQLite format 3\0") or mark != APPLICATION):
        raise InputError(f"{where}: is no store of a sweep; name another file")
    if head and version != FORMAT:
        raise InputError(f"{where}: has form {version}, and this archsim writes {FORMAT}; name another file")


def _utf8(text: str) -> str:
    """The text with half characters, which no file holds, as Python writes them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _file(path: str) -> tuple[int, int] | None:
    """Which file lies at the path."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _me() -> str:
    """The process that has the store, in words."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = f"user {os.getuid()}"
    return f"process {os.getpid()} of {user} on {socket.gethostname()}, since {since}"


def _owner(path: str) -> str:
    """Who has the store, in words."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1) as database:
            return f"is in use by {database.execute('SELECT told FROM owner').fetchone()[0]}"
    except (sqlite3.Error, TypeError):
        return "is in use by another process, which has just begun"
