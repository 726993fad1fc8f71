"""Stdout that is full, closed, or of a narrow encoding, and what an interrupt leaves on the terminal."""

import io
import os
import subprocess
import sys

import pytest

import interrupts
from archsim.cli import DONE, FAULT, INTERRUPTED, WRONG, main
from archsim.cli.terminal import PLAIN, Aside, Lost, Stream

ARCHSIM = [sys.executable, "-m", "archsim"]
DECODE = ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "4"]
CHECK = ["check", "toy"]


def run(*words, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ARCHSIM, *words], **{"stderr": subprocess.PIPE, "text": True} | more)


@pytest.mark.parametrize("command", [DECODE, [*DECODE, "--json"], CHECK, ["--help"]])
def test_a_full_disk_is_said(command):
    with open("/dev/full", "w") as full:
        done = run(*command, stdout=full)
    assert (done.returncode, done.stderr) == (WRONG, "the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("command", [["schema"], [*DECODE, "--json"], CHECK, ["--help"]])
def test_a_reader_that_has_gone_is_no_problem(command):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = run(*command, stdout=gone)
    assert (done.returncode, done.stderr) == (DONE, "")


@pytest.mark.parametrize("name, status", [("toy", DONE), ("nope", WRONG)])
def test_words_beside_the_result_may_be_lost(name, status):
    with open("/dev/full", "w") as full:
        done = run("check", name, stdout=subprocess.PIPE, stderr=full)
    assert (done.returncode, bool(done.stdout)) == (status, status == DONE)


def test_closed_streams_are_no_problem():
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        words = ["/bin/sh", "-c", f'"$@" {closed}', "sh", *ARCHSIM, *CHECK]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (DONE, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_a_report_is_readable_in_any_encoding(encoding):
    done = run(*DECODE, stdout=subprocess.PIPE, text=False, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (DONE, b"")
    text = done.stdout.decode(encoding)
    plain = text.translate(str.maketrans(PLAIN))
    assert plain.startswith("toy - toy_llm - decode - context 4")
    assert "  matmul " in plain
    assert "  ##" in plain
    assert "\\u" not in text


def test_a_stream_writes_what_its_encoding_has():
    for encoding, expected in (("ascii", "# - \\u6587 \\udcff\n"), ("utf-8", "█ · 文 \\udcff\n")):
        raw = io.BytesIO()
        with io.TextIOWrapper(raw, encoding=encoding, newline="") as inner:
            Stream(inner).write("█ · 文 \udcff\n")
            inner.flush()
            assert raw.getvalue().decode(encoding) == expected


def test_only_a_result_that_is_lost_is_a_problem():
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(Lost, match="No space left"):
        Stream(Full()).write("x")
    Aside(Full()).write("x")


# From the first line of this project on; what comes before is Python's own start.
TRACED = """
import importlib.abc, os, signal, sys
class At(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
module = sys.argv.pop(1)
sys.meta_path.insert(0, At())
from archsim.cli import entry
entry()
"""


@pytest.mark.parametrize(
    "module", ["archsim.cli.outcome", "typer", "pydantic", "archsim.errors", "mappers.registry", "numpy"]
)
def test_an_interrupt_while_packages_are_loaded_is_told_in_a_word(module):
    command = [sys.executable, "-c", TRACED, module, *DECODE]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=interrupts.hear)
    assert (done.returncode, done.stderr, done.stdout) == (INTERRUPTED, "interrupted\n", "")


def test_the_end_of_a_file_is_no_interrupt(capsys, monkeypatch):
    def broken(*_, **__):
        raise EOFError("Ran out of input")

    monkeypatch.setattr("mappers.experiment.run.simulate", broken)
    assert main(DECODE) == FAULT
    assert "interrupted" not in capsys.readouterr().err
