"""A folder that a command writes: it is whole or not there, and takes the place of nothing that a user wrote.

Its manifest.json lists every other file with its hash, which marks the folder as one of ours.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from archsim.errors import InputError

MANIFEST = "manifest.json"
TRIES = 1000  # against others who write the same folder at the same time


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_folder(given: str, *, force: bool) -> Path:
    """The folder of this name, where `write_files` may write. Raises InputError, which says why not."""
    where = f"--output {given}" if given.isprintable() else f"--output {given!r}"
    if not given:
        raise InputError("--output: expected the name of a folder, got ''")
    if given == "-":
        raise InputError("--output -: stdout is for the report; name a folder")
    folder = Path(os.path.abspath(given))
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            kind = folder.lstat().st_mode  # asked once, for another run may put its folder here at any time
            if not stat.S_ISDIR(kind):
                told = "a link; name the folder that it leads to" if stat.S_ISLNK(kind) else "a file; name a folder"
                raise InputError(f"{where}: is {told}")
        taken = _not_ours(folder)
        room = folder if taken else next(place for place in folder.parents if place.exists())
        if not room.is_dir():
            raise InputError(f"{where}: cannot be written: {room} is a file")
        if not os.access(room, os.W_OK | os.X_OK):
            raise InputError(f"{where}: cannot be written: no permission in {room}")
        if taken and not force:
            raise InputError(f"{where}: {taken}; name another folder, or give --force to write into this one")
        with _private(folder, room):
            return folder  # a disk that takes none says so now, before the run
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a ValueError is of a name that no folder can have
        raise InputError(f"{where}: cannot be written: {getattr(error, 'strerror', error)}") from None


def write_files(given: str, files: Mapping[str, str], *, force: bool) -> None:
    """Writes a folder of these files, a manifest among them, in place of one of ours or of none.

    With `force` they go into a folder that holds other files too, one by one, in place of files of the same names.
    Raises InputError where the folder cannot be written.
    """
    try:
        folder = check_folder(given, force=force)
        folder.parent.mkdir(parents=True, exist_ok=True)
        into = bool(_not_ours(folder))
        with _private(folder, folder if into else folder.parent) as private:
            new = Path(private, "new")
            new.mkdir()
            for name, text in files.items():
                (new / name).write_text(text, encoding="utf-8")
            if into:
                for name in files:
                    os.replace(new / name, folder / name)
            else:
                _take_place(new, folder, Path(private))
    except OSError as error:
        raise InputError(f"--output {given}: cannot be written: {error.strerror}") from None


def _private(folder: Path, room: Path) -> TemporaryDirectory[str]:
    """A folder of 0700, on the disk of the folder that is to be: only such a one can be renamed into its place."""
    return TemporaryDirectory(prefix=f".{folder.name[:100]}.", dir=room)


def _take_place(new: Path, folder: Path, private: Path) -> None:
    """Renames the new folder into place, over an empty one or instead of one of ours."""
    for i in range(TRIES):
        try:
            os.rename(new, folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or i == TRIES - 1 or _not_ours(folder):
                raise
        with suppress(FileNotFoundError):  # where another run has just moved it away
            os.rename(folder, private / f"old {i}")


def _not_ours(folder: Path) -> str:
    """Why a new folder may not take the place of this one; "" where nothing is lost."""
    if folder in (Path.cwd(), *Path.cwd().parents):
        return "is the folder that you are in, or lies above it"
    with suppress(FileNotFoundError):  # where another run has just moved it away
        if folder.is_mount():
            return "is where a disk is mounted, which cannot be renamed"
    while folder.is_dir():
        with suppress(FileNotFoundError):
            before, other = _which(folder), _other(folder)
            if not other:
                return ""
            if _which(folder) == before:  # else another run has put its own there meanwhile
                return f"holds {', '.join(other[:3])}{', …' * (len(other) > 3)}, which no run wrote as it is"
    return ""


def _which(folder: Path) -> tuple[int, int]:
    # The time too, because a disk gives the number of a folder that is gone to the next one.
    found = folder.stat()
    return found.st_ino, found.st_mtime_ns


def _other(folder: Path) -> list[str]:
    """The names in a folder of what no run wrote, or what was changed since."""
    names = sorted(os.listdir(folder))
    known = _listed(folder / MANIFEST)
    ours = [MANIFEST, *known] if known else []
    return [name for name in names if name not in ours or (name in known and _hash(folder / name) != known[name])]


def _listed(manifest: Path) -> dict[str, str]:
    """The files of a folder of ours with their hashes; nothing where the manifest is of another kind."""
    try:
        outputs = json.loads(_read(manifest))["outputs"]
        return {name: output["sha256"] for name, output in outputs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _hash(path: Path) -> str | None:
    try:
        return sha256(_read(path))
    except OSError:
        return None


def _read(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError
    return path.read_bytes()
