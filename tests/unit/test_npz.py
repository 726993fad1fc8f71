"""Is an archive of arrays refused from its headers, before its data is read?"""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kernels.npz import read_arrays, read_headers
from kernels.selection.recordings import load_selection, load_stream
from kernels.selection.streams import video_stream


def npy(*, shape: str = "(3,)", descr: str = "'<f4'", data: bytes = bytes(12)) -> bytes:
    """An array of the format 1.0 with this header, true or not."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def archive(**members: bytes) -> io.BytesIO:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return written


def stream_arrays(**changes: object) -> dict[str, object]:
    drawn = video_stream(0, 4, heads=2, kv_heads=1, head_dim=2, frame=3)
    names = ("keys", "values", "queries", "frame", "questions", "needles", "mass")
    return {name: getattr(drawn, name) for name in names} | changes


def test_arrays_come_back_with_their_order_of_axes() -> None:
    arrays = {"c": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6).reshape(2, 3)), "one": np.array(7)}
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)
    for name, array in read_arrays(written).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
    shapes = {name: header.shape for name, header in read_headers(written).items()}
    assert shapes == {"c": (2, 3), "f": (2, 3), "one": ()}


@pytest.mark.parametrize(
    "member",
    [
        b"", b"hello", npy(shape="(99999999999999999999999,)"), npy(shape="(-1,)"), npy(shape="(4,)"),
        npy(descr="'|O'"), npy(descr="'nothing'"), npy(shape="'text'"), npy(shape="(" * 400),
        npy(shape="(True, 3)", data=bytes(11)), npy().replace(b"\x01\x00", b"\x09\x00", 1),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_plain_array_is_refused(member: bytes) -> None:
    with pytest.raises(ValueError, match=r"a: is no array"):
        read_headers(archive(a=member))


@pytest.mark.parametrize("load", [load_stream, load_selection])
def test_a_small_file_is_not_unpacked_into_a_large_one(load: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("keys.npy", "w") as member:
        member.write(npy(shape="(268435456,1,1)", descr="'|u1'", data=b""))
        for _ in range(256):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"268,435,5\d\d bytes unpacked, at most 67,108,864; save the arrays without"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("lie", ["another of its name", "bytes it takes", "bytes it gives"])
def test_what_an_archive_says_of_a_member_unpacks_nothing_large(lie: str) -> None:
    written, large = io.BytesIO(), npy(shape="(5000,)", data=bytes(20_000)) + bytes(2**27)
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", large)
        if lie == "another of its name":
            file.writestr("a", npy())
    content = bytearray(written.getvalue())
    in_directory = content.find(b"PK\x01\x02")
    if lie == "bytes it takes":
        content[in_directory + 20 : in_directory + 24] = (2**31).to_bytes(4, "little")
    if lie == "bytes it gives":
        content[in_directory + 24 : in_directory + 28] = (len(large) - 2**27).to_bytes(4, "little")
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^(two arrays of one name|134,23\d,\d+ bytes unpacked|Bad CRC-32)"):
        read_arrays(io.BytesIO(content))
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_what_numpy_compresses_with_is_unpacked(method: int) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as file:
        file.writestr("a.npy", npy())
    with pytest.raises(ValueError, match="is compressed in another way than NumPy does"):
        read_arrays(written)


def test_a_shape_is_compared_before_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "rec.npz", **stream_arrays(values=np.ones((7, 1, 2))))
    monkeypatch.setattr("kernels.selection.recordings.read_arrays", lambda *_: pytest.fail("data was read"))
    with pytest.raises(ValueError, match=r"rec.npz: values: shape \(7, 1, 2\) beside keys \(12, 1, 2\)"):
        load_stream(tmp_path / "rec.npz")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frame": 2.7}, "frame: 2.7 is no whole number from 1 on; take 1 or more"),
        ({"frame": np.inf}, "frame: inf is no whole number from 1 on"),
        ({"mass": np.nan}, "mass: nan is outside 0 to 1; take a number from 0 to 1"),
        ({"mass": 7}, "mass: 7 is outside 0 to 1"),
        ({"mass": -3.0}, "mass: -3.0 is outside 0 to 1"),
        ({"needles": np.array([1.5]), "questions": np.ones((1, 2, 2))}, "needles: elements of float64; give whole"),
        ({"keys": np.full((12, 1, 2), 1e30)}, r"keys: an element of size 1e\+30; give at most 1e\+15"),
        ({"queries": np.full((12, 2, 2), -1e300)}, r"queries: an element of size 1e\+300; give at most 1e\+15"),
        ({"values": np.full((12, 1, 2), np.nan)}, "values: 24 elements are not finite; give finite numbers"),
    ],
)  # fmt: skip
def test_numbers_of_a_recording_that_cannot_be_are_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "rec.npz", **stream_arrays(**changes))
    with pytest.raises(ValueError, match=f"rec.npz: {message}"):
        load_stream(tmp_path / "rec.npz")


@pytest.mark.parametrize(
    "changes",
    [{"heads": np.array([2**63], dtype=np.uint64)}, {"heads": np.array([2**32]), "tokens": np.array([2**32])}],
)
def test_sizes_of_a_selection_do_not_wrap_around(changes: dict[str, np.ndarray], tmp_path: Path) -> None:
    arrays = {"bits": np.zeros(0, np.uint8), "heads": np.array([1]), "tokens": np.array([8])}
    rows = {"counts": np.zeros((1, 6), int), "hashed": np.zeros((0, 4), int), "ranked": np.zeros((0, 4), int)}
    np.savez(tmp_path / "kept.npz", **(arrays | rows | changes))
    with pytest.raises(ValueError, match=r"kept.npz: bits: shape \(0,\) of uint8; give \d+ bytes for \d+ bits"):
        load_selection(tmp_path / "kept.npz")
