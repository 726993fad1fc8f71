"""Archives of plain arrays, .npz, by their headers first: a file is refused before its data is read.

Knows zip members and the header of an array, never pickled objects. Does not know what the arrays mean.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.lib import format as npy

from kernels.limits import ARCHIVE_BYTES, ARCHIVE_RATIO, beyond

Source = str | os.PathLike[str] | IO[bytes]

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# zipfile and zlib each raise errors of their own for damaged files; a RuntimeError is an encrypted member.
_DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says of an array before its data: shape, type, and whether the first axis varies fastest."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(source: Source, names: Sequence[str] | None = None) -> dict[str, Header]:
    """Return the headers of the arrays of these names, or of all; no data is read.

    Raises ValueError for an archive that is damaged, far larger when unpacked, or holds anything but plain arrays under
    these names; KeyError with the text of the problem where a name is missing.
    """
    with _opened(source) as file:
        return {name: _header(name, file, member) for name, member in _members(file, names).items()}


def read_arrays(source: Source, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return these arrays by name. Raises as read_headers, and ValueError for damaged data."""
    with _opened(source) as file:
        # All headers first: no data is read of a file that is refused.
        found = [(name, member, _header(name, file, member)) for name, member in _members(file, names).items()]
        return {name: _array(_unpacked(file, member), header) for name, member, header in found}


@contextmanager
def _opened(source: Source) -> Iterator[zipfile.ZipFile]:
    """The archive; what zipfile and zlib raise of a damaged one leaves as ValueError."""
    if isinstance(source, str | os.PathLike) and os.path.exists(source) and not os.path.isfile(source):
        raise ValueError("is no regular file")  # a pipe or a device may have no end
    try:
        with zipfile.ZipFile(source) as file:
            yield file
    except _DAMAGED as problem:
        raise ValueError(str(problem) or type(problem).__name__) from problem


def _members(file: zipfile.ZipFile, names: Sequence[str] | None) -> dict[str, zipfile.ZipInfo]:
    """The members of these names, or all, where no two have one name and what all unpack to is not far larger."""
    listed = file.infolist()
    members = {member.filename.removesuffix(".npy"): member for member in listed}
    if len(members) < len(listed):
        raise ValueError("two arrays of one name")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in listed):
        raise ValueError("is compressed in another way than NumPy does; save it by np.savez")
    # A member may say that it takes more of the file than there is.
    most = max(ARCHIVE_BYTES, ARCHIVE_RATIO * min(sum(member.compress_size for member in listed), file.start_dir))
    size = sum(member.file_size for member in listed)
    if problem := beyond(size, most, of="bytes unpacked", instead="save the arrays without compression"):
        raise ValueError(problem)
    missing = [name for name in names or () if name not in members]
    if missing:
        raise KeyError(f"no array '{missing[0]}' among {', '.join(members) or 'nothing'}")
    return members if names is None else {name: members[name] for name in names}


def _unpacked(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # Read by its size, because reading to the end unpacks all that there is before it compares the size.
    with file.open(member) as opened:
        return opened.read(member.file_size)


def _array(member: bytes, header: Header) -> np.ndarray:
    # A copy, because an array over bytes cannot be written to.
    plain = np.frombuffer(member, dtype=header.dtype, offset=len(member) - header.nbytes).copy()
    return plain.reshape(header.shape, order="F" if header.fortran else "C")


def _header(name: str, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    with file.open(member) as opened:
        try:
            shape, fortran, dtype = _READ_HEADER[npy.read_magic(opened)](opened)
        except Exception as problem:  # the parser of headers reads Python, and raises what that raises
            raise ValueError(f"{name}: is no array") from problem
        header = Header(shape, dtype, fortran)
        if dtype.hasobject or min(shape, default=0) < 0 or opened.tell() + header.nbytes != member.file_size:
            raise ValueError(f"{name}: is no array of plain numbers, or not of the size that it says")
    return header
