"""The folder of --output: whole or not there, in place of nothing that a user wrote, and no report lost to it."""

import hashlib
import json
import multiprocessing
import os
import re
import stat
from pathlib import Path

import pytest

import archsim.files.folder
from archsim import InputError
from archsim.cli import DONE, WRONG, main
from archsim.files.folder import check_folder, write_files

DECODE = ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "4"]
RETRIEVE = ["simulate", "toy_retrieval", "toy_video", "--phase", "frame", "--context", "20", "--selection", "resv"]
NAMES = ["design.yaml", "manifest.json", "mapping.yaml", "ops.csv", "summary.json"]


def said(capsys, *arguments, status=DONE):
    assert main([str(word) for word in arguments]) == status
    return capsys.readouterr()


def refused(capsys, *arguments) -> str:
    """The problem, told before anything is simulated."""
    captured = said(capsys, *arguments, status=WRONG)
    assert captured.out == ""
    return captured.err


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def files_of(text: str) -> dict[str, str]:
    outputs = {"a.txt": {"sha256": hashlib.sha256(text.encode()).hexdigest()}}
    return {"a.txt": text, "manifest.json": json.dumps({"outputs": outputs})}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_of_another_run_is_replaced_whole(here, capsys):
    said(capsys, *RETRIEVE, "--output", "run")
    assert names(here / "run") == sorted({*NAMES, "selection.yaml"})
    said(capsys, *DECODE, "--output", "run")
    assert names(here / "run") == NAMES
    assert names(here) == ["run"]
    assert stat.S_IMODE((here / "run").stat().st_mode) == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["notes.txt", "design.yaml", "manifest.json", "summary.json/notes.txt"])
def test_a_folder_with_a_file_of_the_user_is_refused(name, here, capsys):
    mine = here / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    told = f"holds {name.partition('/')[0]}, which no run wrote as it is; name another folder, or give --force to"
    assert told in refused(capsys, *DECODE, "--output", "mine")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "design.yaml"])
def test_a_folder_of_a_run_in_which_the_user_has_written_is_refused(name, here, capsys):
    said(capsys, *DECODE, "--output", "run")
    with open(here / "run" / name, "a") as file:
        file.write("# a comment of mine\n")
    assert f"holds {name}" in refused(capsys, *DECODE, "--output", "run")
    said(capsys, *DECODE, "--output", "run", "--force")
    assert (here / "run" / "notes.txt").exists() == (name == "notes.txt")
    assert "mine" not in (here / "run" / "design.yaml").read_text()
    assert names(here) == ["run"]


def test_the_folder_that_the_user_is_in_is_refused(here, capsys):
    (here / "design.yaml").write_text("mine")
    for given in (".", here, here.parent):
        assert "is the folder that you are in, or lies above it" in refused(capsys, *DECODE, "--output", given)
    said(capsys, *DECODE, "--output", ".", "--force")
    assert names(here) == NAMES


def test_the_folder_of_a_disk_is_written_into_by_force(here):
    with pytest.raises(InputError, match="is where a disk is mounted, which cannot be renamed; name another folder"):
        check_folder("/proc", force=False)
    assert check_folder("/dev", force=True) == Path("/dev")


def test_an_empty_name_is_refused(here, capsys):
    assert refused(capsys, *DECODE, "--output", "") == "--output: expected the name of a folder, got ''\n"
    assert names(here) == []


@pytest.mark.parametrize("name", ["a\0b", "\ud800"], ids=["null", "half a character"])
def test_a_name_that_no_folder_can_have_is_refused(name, capsys):
    said_so = refused(capsys, *DECODE, "--output", name)
    assert re.match(r"--output '.*': cannot be written: .*(null|surrogates)", said_so)


def test_nothing_is_written_through_a_link(here, capsys):
    (here / "real").mkdir()
    for link, target in (("link", "real"), ("dangling", "nowhere")):
        (here / link).symlink_to(here / target)
        assert "is a link; name the folder that it leads to" in refused(capsys, *DECODE, "--output", link, "--force")
    assert names(here / "real") == []
    (here / "real" / "design.yaml").symlink_to(here / "target.yaml")
    said(capsys, *DECODE, "--output", "real", "--force")
    assert not (here / "target.yaml").exists()
    assert not (here / "real" / "design.yaml").is_symlink()


@pytest.mark.parametrize(
    "given, why",
    [
        ("taken", "is a file; name a folder"),
        ("taken/x", "taken is a file"),
        ("taken/x/y", "taken is a file"),
        ("n" * 300, "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_a_folder_is_refused(given, why, here, capsys):
    (here / "taken").write_text("a file")
    assert why in refused(capsys, *DECODE, "--output", given)


def test_a_disk_that_takes_no_folder_is_told_before_the_run(here, capsys, monkeypatch):
    def refuses(*_, **__):
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(archsim.files.folder, "TemporaryDirectory", refuses)
    captured = said(capsys, *DECODE, "--output", "run", status=WRONG)
    assert (captured.out, captured.err) == ("", "--output run: cannot be written: No such file or directory\n")
    monkeypatch.undo()
    archsim.files.folder.check_folder("run", force=False)
    assert names(here) == []


def test_a_full_disk_takes_no_report_and_leaves_nothing(here, capsys, monkeypatch):
    said(capsys, *DECODE, "--output", "run")
    before = (here / "run" / "design.yaml").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archsim.files.folder.Path, "write_text", full)
    for folder in ("run", "other"):
        captured = said(capsys, *DECODE, "--output", folder, status=WRONG)
        assert captured.out.startswith("toy · toy_llm · decode")
        assert captured.err == f"--output {folder}: cannot be written: No space left on device\n"
    assert (here / "run" / "design.yaml").read_bytes() == before
    assert names(here) == ["run"]


def _write_often(folder: str, text: str, times: int) -> None:
    for _ in range(times):
        write_files(folder, files_of(text), force=False)


def test_runs_that_write_one_folder_at_once_leave_the_whole_of_one(here):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=("run", f"text {i}", 100)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert names(here) == ["run"]
    text = (here / "run" / "a.txt").read_text()
    assert {name: (here / "run" / name).read_text() for name in names(here / "run")} == files_of(text)


def test_a_manifest_of_another_kind_marks_nothing(here):
    for text in ("", "[]", "{}", '{"outputs": 3}', '{"outputs": {"a": 1}}', "[" * 100_000):
        (here / "x").mkdir(exist_ok=True)
        (here / "x" / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=r"holds manifest\.json"):
            check_folder("x", force=False)
