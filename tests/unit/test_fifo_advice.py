"""Advice on depths: in the names and units of the user's file, to the cycle as promised, never slower than before."""

import re
import shlex
from typing import Any

import pytest

import archsim
import dataflow
import mappers
from archsim import Deadlock, simulate
from archsim.design.depths import as_options, setting_of
from archsim.fifos.sizes import size_fifos

TELLME, BITNET = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")
MACHINE, TOY = archsim.load_design("streaming_machine"), archsim.load_model("toy_llm")


def set_as(line: str) -> dict[str, Any]:
    """The changes that the options of a line make: --set PATH=VALUE."""
    words = shlex.split(line)
    pairs = [words[i + 1].rpartition("=") for i, word in enumerate(words) if word == "--set"]
    return {path: int(value) for path, _, value in pairs}


@pytest.mark.parametrize("context", [16, 64, 512])
def test_depths_that_are_advised_bring_what_is_promised(context: int) -> None:
    graph = dataflow.decode(BITNET, context=context)
    sizes = size_fifos(mappers.lower(graph, TELLME), TELLME)
    changes = set_as(next(line for line in str(sizes).splitlines() if line.startswith("to set")))
    assert changes == dict(sizes.settings)
    assert set(changes) == {f"links.{name}.depth" for name in TELLME.links}
    variant = TELLME.with_(changes)
    assert simulate(mappers.lower(graph, variant), variant).cycles == sizes.set_cycles
    # The one that holds the design back, alone, in its own unit: elements, not tokens of two.
    (held,) = sizes.held_back_by
    assert (held.name, held.setting.path, held.setting.value(held.minimal)) == ("int8", "links.int8.depth", 64)
    alone = TELLME.with_({"links.int8.depth": 64})
    assert simulate(mappers.lower(graph, alone), alone).cycles == held.alone_cycles
    assert "links.int8.depth=64 is needed (8 to 32 tokens)" in str(sizes)


def test_the_target_is_the_best_run_known() -> None:
    """Behind a memory that serves first come, unlimited queues are slower than the given ones at this context."""
    sizes = size_fifos(mappers.lower(dataflow.decode(BITNET, context=512), TELLME), TELLME)
    assert sizes.cycles <= sizes.target_cycles < sizes.cycles_now < sizes.unbounded_cycles
    assert "deeper is slower here: first come, first served at 'ddr'" in str(sizes)
    other = size_fifos(mappers.lower(dataflow.decode(BITNET, context=16), TELLME), TELLME)
    assert other.target_cycles == other.unbounded_cycles
    assert "deeper is slower" not in str(other)


def test_a_target_that_the_given_depths_reach_is_not_out_of_reach() -> None:
    schedule = mappers.lower(dataflow.decode(BITNET, context=512), TELLME)
    now = simulate(schedule, TELLME).cycles
    sizes = size_fifos(schedule, TELLME, target=now)
    assert sizes.reached
    assert sizes.cycles <= now
    with pytest.raises(archsim.InputError, match="out of reach of any depths known: the fastest run takes 13,350,679"):
        size_fifos(schedule, TELLME, target=13_350_000)


@pytest.mark.parametrize("form", ["naive", "scaled", "reordered"])
@pytest.mark.parametrize(("prompt", "context"), [(9, 13), (8, 8), (3, 30)])
def test_a_way_out_of_a_deadlock_can_be_set_and_brings_what_is_promised(form, prompt, context) -> None:
    stuck = MACHINE.with_({"fifos.long": 2})
    asked = {"phase": "attention", "prompt": prompt, "context": context, "mask": "full", "options": {"form": form}}
    with pytest.raises(Deadlock) as refused:
        mappers.run(stuck, TOY, **asked)
    line = str(refused.value).splitlines()[-1]
    found = re.fullmatch(r"to set it: (.*), and the section takes ([\d,]+) cycles? \(verified by running it\)", line)
    assert found, line
    assert set_as(found[1]) == refused.value.settings
    assert refused.value.as_json()["settings"] == refused.value.settings
    free = stuck.with_(refused.value.settings)
    assert mappers.run(free, TOY, **asked).cycles == int(found[2].replace(",", ""))
    for path, depth in refused.value.settings.items():
        with pytest.raises(Deadlock):
            mappers.run(stuck.with_({**refused.value.settings, path: depth - 1}), TOY, **asked)


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 16, 33])
@pytest.mark.parametrize("link", TELLME.links)
def test_a_setting_gives_its_stream_the_depth_that_it_says(link: str, depth: int) -> None:
    variant = TELLME.with_({f"links.{link}.depth": depth})
    schedule = mappers.lower(dataflow.decode(BITNET, context=4), variant)
    for stream in schedule.fifos()[link]:
        setting = setting_of(variant, stream)
        assert setting.path == f"links.{link}.depth"
        assert setting.depth(depth) == stream.depth
        assert setting.depth(setting.value(stream.depth)) == stream.depth
        assert setting.value(stream.depth) <= depth


def test_queues_that_the_mapper_sizes_have_no_setting() -> None:
    schedule = mappers.lower(dataflow.decode(BITNET, context=4), TELLME)
    named = {name for name, streams in schedule.fifos().items() if setting_of(TELLME, streams[0]) is not None}
    assert named == set(TELLME.links)
    assert as_options({"fifos.exp > sum": 3}) == "--set 'fifos.exp > sum=3'"


def test_queues_in_a_memory_are_no_deeper_than_their_memory_holds() -> None:
    """The schedule of minimal depths runs: no queue in a memory is deeper than the mapper, who sized it, made it."""
    vrex8, toy = archsim.load_design("vrex8"), archsim.load_design("toy_retrieval")
    videos = [archsim.load_model("videollm_online_8b"), archsim.load_model("toy_video")]
    for on, model, context in ((vrex8, videos[0], 2000), (toy, videos[1], 24)):
        sizes = size_fifos(mappers.lower(dataflow.decode(model, context=context), on), on)
        assert simulate(sizes.schedule, on).cycles == sizes.cycles
        assert sizes.cycles <= sizes.target_cycles <= sizes.cycles_now
        for fifo in sizes.fifos:
            if any(stream.memory for stream in fifo.streams):
                assert fifo.minimal <= fifo.depth
        assert "in memory   as deep as given at most: " in str(sizes)
        # Places in a memory are its own, and shared: the sum leaves them out.
        outside = [fifo for fifo in sizes.fifos if not any(stream.memory for stream in fifo.streams)]
        assert sizes.bytes_now == sum(fifo.depth * fifo.bytes_per_token for fifo in outside)
