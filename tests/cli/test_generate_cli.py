"""The phase generate on the command line: text, JSON, files, progress and an interrupt."""

import json
import os
import signal
import subprocess
import sys

import pytest

from archsim.cli import DONE, INTERRUPTED, main, terminal
from interrupts import hear

GENERATE = ["simulate", "toy", "toy_llm", "--phase", "generate", "--prompt", "2", "--tokens", "4"]


def said(capsys, *arguments, status=DONE):
    assert main([*arguments]) == status
    return capsys.readouterr()


def test_json_has_what_users_of_a_generation_ask_for(capsys):
    data = json.loads(said(capsys, *GENERATE, "--json").out)
    assert [data[key] for key in ("phase", "prompt", "context", "batch", "tokens")] == ["generate", 2, None, 1, 4]
    assert data["steps"] == [{"context": 3 + i, "cycles": 726 + 32 * i} for i in range(3)]
    assert data["tpot_seconds"] == pytest.approx(758e-6)
    assert data["tpot_first_seconds"] == pytest.approx(726e-6)
    assert data["tpot_last_seconds"] == pytest.approx(790e-6)
    assert data["ttft_seconds"] + 3 * data["tpot_seconds"] == pytest.approx(data["seconds"])
    assert data["decode_tokens_per_second"] == pytest.approx(1 / 758e-6)
    names = [op["name"] for op in data["ops"]]
    assert len(set(names)) == len(names)
    assert {name.partition(": ")[0] for name in names} == {"prefill", "decode"}


@pytest.mark.parametrize("phase, none", [
    (["prefill", "--prompt", "3"], {"tpot_seconds", "tpot_first_seconds", "tpot_last_seconds",
                                    "decode_tokens_per_second", "steps"}),
    (["decode", "--context", "3"], {"ttft_seconds"}),
])  # fmt: skip
def test_what_a_phase_has_not_is_null(phase, none, capsys):
    data = json.loads(said(capsys, "simulate", "toy", "toy_llm", "--json", "--phase", *phase).out)
    keys = {"ttft_seconds", "tpot_seconds", "tpot_first_seconds", "tpot_last_seconds", "decode_tokens_per_second",
            "steps"}  # fmt: skip
    assert {key for key in keys if data[key] is None} == none


def test_the_text_says_time_to_first_token_and_per_token(capsys):
    text = said(capsys, *GENERATE).out
    assert "toy · toy_llm · generate · prompt 2 · tokens 4 · batch 1" in text
    assert "(4 tokens made, the prefill's time included)" in text
    first, then = text.splitlines()[4:6]
    assert first.startswith("first token ")
    assert then == "then        758 us a token on average (TPOT), 1.32 ktoken/s; 726 us at a context of 3, 790 us at 5"


def test_a_folder_of_a_generation(tmp_path, capsys):
    said(capsys, *GENERATE, "--output", str(tmp_path))
    assert len(json.loads((tmp_path / "summary.json").read_text())["steps"]) == 3
    assert "decode: layer0.q," in (tmp_path / "ops.csv").read_text()


def test_a_long_run_says_how_far_it_is(capsys, monkeypatch, caplog):
    assert said(capsys, *GENERATE).err == ""
    monkeypatch.setattr(terminal, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr("mappers.experiment.run.SLOW_FIRINGS", 10)
    steps = said(capsys, *GENERATE, "--engine", "simpy").err.splitlines()
    assert caplog.messages[0].startswith("simulating ")
    assert steps == [f"{made} of 4 tokens made" for made in (1, 2, 3)]


def test_an_interrupt_ends_it_cleanly():
    command = [sys.executable, "-c", "from archsim.cli import entry, terminal; terminal.PROGRESS_SECONDS = 0; entry()"]
    # More steps than fit into the time that a signal takes to arrive.
    many = ["simulate", "tellme_kv260", "bitnet_b158_large", "--phase", "generate", "--prompt", "24", "--tokens", "900"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, *many], preexec_fn=hear, **pipes) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert line == "1 of 900 tokens made\n"
    assert (process.returncode, out) == (INTERRUPTED, "")
    assert "Traceback" not in err
