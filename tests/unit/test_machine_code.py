"""Machine code is kept in one private folder; whatever happens to that folder, kernels run and only own files go."""

import os
import pickle
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archsim.engine import machine_code_folder
from archsim.engine.machine_code_folder import CLOCK, is_compiled
from kernels import code_folder as place
from kernels import machine_code
from kernels.code_folder import TAG, TAG_NAME, code_folder, keep_code

OLD = time.time() - 8 * 24 * 3600
RAN = []  # what a file that was made by another has run


class Evil:
    def __reduce__(self):
        return RAN.append, ("run",)


def double(x):
    return 2 * x


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    """The folder that Numba's setting names; nothing is known of it yet."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    _forget()
    RAN.clear()
    yield tmp_path / "cache"
    _forget()


def _forget() -> None:
    code_folder.cache_clear()
    machine_code._tell.cache_clear()


def run(sources: Path) -> bool:
    """Runs a kernel as a new process would; whether its machine code was there."""
    (sources / "code").mkdir(exist_ok=True)
    (sources / "code" / "double.py").touch()
    kernel = machine_code.compiled(sources=sources / "code")(double)
    assert kernel(21) == 42
    return bool(sum(kernel.stats.cache_hits.values()))


def folders(base: Path) -> list[str]:
    return sorted(os.listdir(base))


def kept(base: Path) -> Path:
    (found,) = base.glob("archsim-*/*.code")
    return found


def test_code_is_kept_and_found_again(base, tmp_path):
    assert not run(tmp_path)
    assert run(tmp_path)
    assert stat.S_IMODE(base.stat().st_mode) == stat.S_IMODE(kept(base).parent.stat().st_mode) == 0o700
    assert sorted(os.listdir(kept(base).parent)) == [TAG_NAME, kept(base).name]


def test_code_of_other_sources_is_not_found(base, tmp_path):
    run(tmp_path)
    (tmp_path / "code" / "other.py").write_text("changed")
    code_folder.cache_clear()
    assert not run(tmp_path)
    assert len(folders(base)) == 2


DAMAGES = {
    "empty": lambda code: b"",
    "half": lambda code: code[: len(code) // 2],
    "cut": lambda code: code[:-10],
    "zeros": lambda code: bytes(len(code)),
    "garbage": lambda code: b"garbage" * 100,
    "one bit": lambda code: code[:-100] + bytes([code[-100] ^ 1]) + code[-99:],
    "another thing, with its sum": lambda code: place._sum(b"no code") + b"no code",
    "another pickle, with its sum": lambda code: place._sum(pickle.dumps(3)) + pickle.dumps(3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_said_and_made_anew(damage, base, tmp_path, caplog):
    run(tmp_path)
    kept(base).write_bytes(DAMAGES[damage](kept(base).read_bytes()))
    assert not run(tmp_path)
    (line,) = caplog.messages
    assert line.startswith(f"{kept(base)}: cannot be used (")
    assert line.endswith("); compiling it again")
    assert run(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_file_without_an_end_is_said_and_made_anew(make, base, tmp_path, caplog):
    run(tmp_path)
    path = kept(base)
    path.unlink()
    make(path)
    assert not run(tmp_path)
    assert caplog.messages == [f"{path}: cannot be used (it is no plain file); compiling it again"]
    assert run(tmp_path)


def test_only_old_folders_with_the_mark_are_removed(base, tmp_path):
    for name, tag, mode in (
        ("engine-notes", None, 0o700), ("archsim-notes", None, 0o700), ("archsim-theirs", "another's", 0o700),
        ("archsim-open", TAG, 0o755), ("archsim-old", TAG, 0o700), ("archsim-new", TAG, 0o700),
    ):  # fmt: skip
        (base / name).mkdir(parents=True)
        (base / name / "notes.txt").write_text("mine")
        if tag:
            (base / name / TAG_NAME).write_text(tag)
        (base / name).chmod(mode)
        os.utime(base / name, None if name == "archsim-new" else (OLD, OLD))
    (base / "archsim-link").symlink_to(base / "archsim-old")
    before = set(folders(base))
    run(tmp_path)
    assert before - set(folders(base)) == {"archsim-old"}


def other(folder: Path, how: str) -> None:
    """Makes of the folder one that others could have made or can write to."""
    if how == "link":
        folder.rename(folder.parent / "elsewhere")
        folder.symlink_to(folder.parent / "elsewhere")
    elif how == "another user's":
        os.chown(folder, 12345, -1)
    else:
        folder.chmod(int(how, 8))


@pytest.mark.parametrize("how", ["770", "707", "755", "link", "another user's"])
def test_nothing_is_run_from_a_folder_that_is_not_private(how, base, tmp_path, caplog):
    if how == "another user's" and os.geteuid():
        pytest.skip("only root can give a folder away")
    run(tmp_path)
    path = kept(base)
    code = pickle.dumps(Evil())
    keep_code(path, code)
    other(path.parent, how)
    assert not run(tmp_path)
    assert RAN == []
    assert path.read_bytes().endswith(code)
    (line,) = caplog.messages
    assert "(it is a link, another user's, or open to others); each process compiles its own" in line


def test_the_engine_is_not_found_in_a_folder_that_is_not_private(base, monkeypatch):
    monkeypatch.setattr(machine_code_folder, "_found", set())
    path = code_folder(machine_code_folder.SOURCES) / f"{CLOCK}-0.code"
    keep_code(path.with_name(f"{CLOCK}s-0.code"), b"")
    assert not is_compiled(CLOCK)
    keep_code(path, b"")
    path.parent.chmod(0o755)
    assert not is_compiled(CLOCK)
    path.parent.chmod(0o700)
    assert is_compiled(CLOCK)


@pytest.mark.parametrize("told", ["/dev/null/x", "/proc/x", "taken/x"])
def test_without_a_place_it_runs_and_says_so_once(told, base, tmp_path, monkeypatch, caplog):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / told))
    assert [run(tmp_path), run(tmp_path)] == [False, False]
    (line,) = caplog.messages
    assert line.endswith("; each process compiles its own")


def test_without_a_home_nothing_is_made_in_the_current_folder(base, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("HOME", "home")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    run(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    code_folder.cache_clear()
    run(tmp_path)
    assert os.listdir(tmp_path) == ["code"]
    assert "machine code cannot be kept there" in caplog.text


def test_on_a_full_disk_it_runs_and_leaves_nothing(base, tmp_path, monkeypatch, caplog):
    def full(self: Path, content: bytes) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.Path, "write_bytes", full)
    run(tmp_path)
    (line,) = caplog.messages
    assert "machine code cannot be kept there (No space left on device); each process compiles its own" in line
    (folder,) = base.iterdir()
    assert os.listdir(folder) == [TAG_NAME]


def test_a_selection_runs_where_nothing_can_be_written():
    words = [
        "simulate", "toy_retrieval", "toy_video", "--phase", "frame", "--context", "20", "--selection", "streaming_llm",
        "--set", "selection.settings.sinks=2", "--set", "selection.settings.window=4",
    ]  # fmt: skip
    environment = {**os.environ, "HOME": "/dev/null", "XDG_CACHE_HOME": ""}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-m", "archsim", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "the compiled engine is not compiled yet" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.endswith(": machine code cannot be kept there (Not a directory); each process compiles its own")
