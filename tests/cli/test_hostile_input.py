"""Files and names that are too large, read only once, or made to act on a terminal."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from archsim import DesignError, load_design
from archsim.cli import DONE, UNFIT, WRONG, main
from archsim.files.document import LARGEST_BYTES, LONGEST_TEXT, read, write
from dataflow.errors import CONTROLS
from dataflow.name import LONGEST_NAME

TOY = load_design("toy").document.data
ESCAPES = "\x1b[2J\x1b]0;title\x07"


def told(capsys, *arguments, statuses=(WRONG, UNFIT)) -> str:
    """What a command says on stderr, which never acts on a terminal."""
    assert main([str(word) for word in arguments]) in statuses
    captured = capsys.readouterr()
    assert not CONTROLS.search(captured.out + captured.err)
    return captured.err


def test_a_file_without_end_is_refused_by_its_size(capsys):
    limit = "/dev/zero: cannot be read: it has more than 4 MiB; expected some KiB of text\n"
    assert told(capsys, "check", "/dev/zero") == limit
    assert told(capsys, "check", "toy", "--with", "/dev/zero") == f"--with {limit}"


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("archsim.files.document.LARGEST_BYTES", 1000)
    path = tmp_path / "long.yaml"
    path.write_text("a: 1\n" + "#" * 995)
    assert read(path).data == {"a": 1}
    path.write_text("a: 1\n" + "#" * 996)
    with pytest.raises(DesignError, match="it has more than"):
        read(path)
    assert LARGEST_BYTES == 4 * 2**20


@pytest.mark.parametrize("place", ["keys", "units"])
def test_many_problems_take_time_in_proportion(place, tmp_path, capsys):
    def seconds(n: int) -> float:
        unknown = {f"some_key_{i}": 1 for i in range(n)}
        units = {f"u{i}": {"kind": "matmul_array", "macs_per_cyclle": 1} for i in range(n)}
        path = tmp_path / f"{n}.yaml"
        path.write_text(write(TOY | (unknown if place == "keys" else {"units": units})))
        begun = time.process_time()
        assert len(told(capsys, "check", path).splitlines()) == n
        return time.process_time() - begun

    # Quadratic would be 64 times; 8 is linear, and the rest is for the noise of a small machine.
    assert seconds(4000) < 24 * seconds(500) + 0.5


def test_a_pipe_is_read_once(tmp_path):
    command = [sys.executable, "-m", "archsim", "check", "/dev/stdin"]
    done = subprocess.run(command, input=write(TOY), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("/dev/stdin: design 'toy', 3 units")


def test_a_report_on_a_pipe_tells_no_command_that_would_read_it_again():
    data = TOY | {"assumed": {"units.mm.macs_per_cycle": "a guess"}}
    command = [sys.executable, "-m", "archsim", "simulate", "/dev/stdin", "toy_llm", "--phase", "decode",
               "--context", "3"]  # fmt: skip
    done = subprocess.run(command, input=write(data), capture_output=True, text=True)
    assert "\nassumed     1 number\n" in done.stdout


@pytest.mark.parametrize("length", [300, 100_000])
@pytest.mark.parametrize(
    "before, after",
    [
        (["check"], []),
        (["list"], []),
        (["schema"], []),
        (["simulate"], ["toy_llm", "--phase", "decode", "--context", "3"]),
        (["simulate", "toy"], ["--phase", "decode", "--context", "3"]),
        (["simulate", "toy", "toy_llm", "--context", "3", "--phase"], []),
        (["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--mapper"], []),
        (["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--engine"], []),
        (["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--selection"], []),
        (["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--option"], []),
        (["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--set"], []),
    ],
)
def test_a_long_name_is_refused_and_shortened(before, after, length, capsys):
    value = "=1" if before[-1] in ("--option", "--set") else ""
    error = told(capsys, *before, "n" * length + value, *after)
    assert 0 < len(error) < 2100


def test_names_in_files_have_a_length(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text(write(TOY | {"name": "n" * LONGEST_NAME}))
    told(capsys, "check", path, statuses=(DONE,))
    path.write_text(write(TOY | {"name": "n" * (LONGEST_NAME + 1), "k" * 10**6: "v" * (LONGEST_TEXT + 1)}))
    error = told(capsys, "check", path)
    assert f"has 1,000,000 characters; expected at most {LONGEST_NAME}" in error
    assert "a text of 4,097 characters; expected at most 4,096" in error
    path.write_text(write(TOY | {"name": "n" * (LONGEST_NAME + 1)}))
    assert "name: expected a name of 1 to 200 printable characters, got 'nnn" in told(capsys, "check", path)
    assert len(error) < 1000


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\x7f", "\x9b", "\u202e", "\u200b", "\ufeff"])
@pytest.mark.parametrize("place", ["name", "source", "mapper"])
def test_a_file_with_control_characters_is_refused(letter, place, tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text(write(TOY | {place: f"a{letter}b"}))
    assert f"{place}: control character {letter!r}" in told(capsys, "check", path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", ESCAPES],
        ["check", f"{ESCAPES}.yaml"],
        ["check", "\udcff.yaml"],
        ["list", ESCAPES],
        ["schema", ESCAPES],
        [ESCAPES],
        ["check", f"--{ESCAPES}"],
        ["check", "toy", "--with", f"{ESCAPES}.py"],
        ["simulate", "toy", "toy_llm", "--phase", ESCAPES],
        ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", ESCAPES],
        ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--set", f"{ESCAPES}=1"],
        ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--option", f"{ESCAPES}=1"],
    ],
)
def test_no_word_of_a_command_line_acts_on_the_terminal(arguments, capsys):
    assert told(capsys, *arguments)


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"])
def test_a_change_of_two_lines_is_refused_wherever_yaml_ends_a_line(end, capsys):
    change = f"units.mm.macs_per_cycle=2{end}clock: 3 MHz"
    error = told(capsys, "simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--set", change)
    assert error.startswith("--set: expected one line of printable text, got 'units.mm.macs_per_cycle=2\\")


def test_a_file_with_escapes_in_its_name_is_checked(tmp_path, capsys):
    path = Path(tmp_path / f"{ESCAPES.replace('/', '')}.yaml")
    path.write_text(write(TOY))
    told(capsys, "check", path, statuses=(DONE,))
