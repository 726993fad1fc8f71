"""`archsim size-fifos`: text, JSON, targets, progress and what is wrong with them."""

import json

import pytest

import archsim.cli.terminal
from archsim.cli import DONE, UNFIT, WRONG, main

SIZE = ["size-fifos", "toy", "toy_llm", "--phase", "decode", "--context", "3"]
LOOKUP = ["size-fifos", "tellme_kv260", "bitnet_b158_large", "--phase", "decode", "--context", "1"]
KEYS = {
    "design", "model", "phase", "prompt", "context", "batch", "mask", "options", "approximated", "clock_hz",
    "target", "target_cycles", "unbounded_cycles", "cycles_now", "cycles", "bytes_now", "bytes", "memory_now", "memory",
    "budget", "settings", "set_cycles",
    "held_back_by", "first_come", "fifos", "runs", "firings", "version",
}  # fmt: skip
FIFO_KEYS = {
    "streams", "depth_now", "minimal", "floor", "peak", "bytes_per_token", "one_place_less", "alone_cycles",
    "at_host", "memory_now", "memory", "setting",
}  # fmt: skip


def said(capsys, *arguments, status=DONE):
    assert main([*arguments]) == status
    return capsys.readouterr()


def test_text_names_what_holds_the_design_back(capsys):
    out = said(capsys, *LOOKUP, "--set", "links.int8.depth=8").out
    assert out.startswith("FIFO sizes · tellme_kv260 · bitnet_b158_large · decode · context 1 · batch 1\n")
    assert "token/s): full rate\n" in out
    assert "held back   by int8: links.int8.depth=64 is needed (4 to 32 tokens); " in out
    assert len(out.splitlines()) <= 48


def test_json_has_every_figure_of_the_text(capsys):
    data = json.loads(said(capsys, *SIZE, "--json").out)
    assert set(data) == KEYS
    assert all(set(fifo) == FIFO_KEYS for fifo in data["fifos"].values())
    assert (data["cycles_now"], data["cycles"], data["unbounded_cycles"]) == (726, 726, 726)
    assert (data["target"], data["held_back_by"], data["phase"], data["context"]) == ("full rate", [], "decode", 3)


def test_the_mapper_and_its_options_are_those_of_simulate(capsys):
    double = [*SIZE, "--json", "--set", "mapping.ahead=next_op"]
    assert json.loads(said(capsys, *double).out)["cycles_now"] < 726
    assert json.loads(said(capsys, *SIZE, "--json", "--set", "units.mm.macs_per_cycle=4").out)["cycles_now"] < 726
    prefill = said(capsys, *SIZE[:3], "--phase", "prefill", "--prompt", "2", "--batch", "1", "--engine", "simpy").out
    assert prefill.startswith("FIFO sizes · toy · toy_llm · prefill · prompt 2")


@pytest.mark.parametrize("target, cycles", [("full rate", 726), ("726", 726), ("1 ktoken/s", 1000)])
def test_targets(target, cycles, capsys):
    assert json.loads(said(capsys, *SIZE, "--json", "--target", target).out)["target_cycles"] == cycles


@pytest.mark.parametrize("target", ["725", "1378 token/s", "soon", "-5", "0", ""])
def test_a_target_that_cannot_be_is_told_in_a_line(target, capsys):
    error = said(capsys, *SIZE, "--target", target, status=WRONG).err
    assert error.startswith("target: ")
    assert len(error.splitlines()) == 1


def test_what_does_not_map_is_told_as_by_simulate(capsys):
    error = said(capsys, *SIZE[:3], "--phase", "decode", "--prompt", "3", status=WRONG).err
    assert error == (
        "phase decode takes --context: keys that the last token attends to, its own included\n"
        "phase decode takes --context, not --prompt\n"
    )
    assert "unknown engine" in said(capsys, *SIZE, "--engine", "fast", status=WRONG).err
    small = [*SIZE, "--set", "units.ddr.capacity=16 B"]
    assert said(capsys, *small, status=UNFIT).err == said(capsys, "simulate", *small[1:], status=UNFIT).err


def test_progress_is_told_on_stderr_where_it_takes_long(capsys, monkeypatch):
    assert said(capsys, *SIZE).err == ""
    monkeypatch.setattr(archsim.cli.terminal, "PROGRESS_SECONDS", 0)
    lines = said(capsys, *SIZE).err.splitlines()
    assert lines
    assert lines[0].startswith("sections run: 1, firings: ")


@pytest.mark.parametrize(
    "asked",
    [
        SIZE[1:],
        LOOKUP[1:],
        ["toy_retrieval", "toy_video", "--phase", "decode", "--context", "64"],
        ["toy_retrieval", "toy_video", "--phase", "decode", "--context", "24", "--selection", "resv"],
        ["streaming_machine", "toy_llm", "--phase", "attention", "--prompt", "4", "--context", "4"],
    ],
    ids=lambda asked: asked[0],
)
def test_json_says_the_options_of_every_mapper_as_a_simulation_does(capsys, asked):
    sized = json.loads(said(capsys, "size-fifos", *asked, "--json").out)
    simulated = json.loads(said(capsys, "simulate", *asked, "--json").out)
    assert sized["options"] == simulated["options"] != {}
