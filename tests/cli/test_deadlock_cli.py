"""A deadlock at the command line: words on stderr, data on stdout where JSON is asked for, and a status of its own."""

import json

import pytest

from archsim.cli import DEADLOCK, DONE, main
from archsim.errors import Deadlock

# The naive form of attention on the streaming machine, two heads of four rows of 16 scores, one after another. The FIFO
# past the sum must hold a row. Without limits 8 x 16 + 16 + 4 cycles; with 16 places seven rows are late by two each.
ROWS = [
    "simulate", "streaming_machine", "toy_llm", "--phase", "attention", "--prompt", "4", "--context", "16",
    "--mask", "full", "--option", "form=naive", "--option", "heads=sequential",
]  # fmt: skip


def said(capsys, *arguments, status):
    assert main([*arguments]) == status
    return capsys.readouterr()


def test_words_and_status(capsys):
    text = said(capsys, *ROWS, "--set", "fifos.long=15", status=DEADLOCK)
    assert text.out == ""
    assert text.err.splitlines()[0] == (
        "section 'attention' is in deadlock from cycle 17 on; each of these waits for the next:"
    )
    assert text.err.splitlines()[-2:] == [
        "way out: stream 'exp > divide': depth 16 instead of 15 lets it run to its end, in 162 cycles "
        "(verified by running it)",
        "to set it: --set 'fifos.exp > divide=16', and the section takes 162 cycles (verified by running it)",
    ]


def test_json_beside_the_words(capsys):
    text = said(capsys, *ROWS, "--set", "fifos.long=15", "--json", status=DEADLOCK)
    (found,) = json.loads(text.out).values()
    assert list(json.loads(text.out)) == ["deadlock"]
    assert text.err == found["text"] + "\n"
    assert (found["section"], found["cycle"]) == ("attention", 17)
    assert [w["task"] for w in found["wait_cycle"]] == ["divide", "sum", "exp"]
    assert [w["task"] for w in found["others"]] == ["output", "score", "sink"]
    assert found["way_out"] == {"depths": {"exp > divide": 16}, "from": {"exp > divide": 15}, "cycles": 148 + 7 * 2}


def test_the_way_out_is_one(capsys):
    """With the depth that is named the run takes the cycles that are named."""
    text = said(capsys, *ROWS, "--set", "fifos.long=16", "--json", status=DONE)
    assert json.loads(text.out)["cycles"] == 162


@pytest.mark.parametrize("json_", [True, False])
def test_every_command_with_json_tells_it_so(json_, capsys, monkeypatch):
    def stuck(*_, **__):
        raise Deadlock("a waits for b, b waits for a", section="x", cycle=3)

    monkeypatch.setattr("archsim.published.compare", stuck)
    text = said(capsys, "compare", *["--json"] * json_, status=DEADLOCK)
    assert text.err == "a waits for b, b waits for a\n"
    if json_:
        assert json.loads(text.out) == {
            "deadlock": {
                "section": "x", "cycle": 3, "wait_cycle": [], "others": [], "way_out": None,
                "settings": {}, "text": "a waits for b, b waits for a",
            }
        }  # fmt: skip
