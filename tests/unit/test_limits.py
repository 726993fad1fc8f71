"""Is a size asked before anything is built from it, and does the check of a section take time as its length grows?"""

import time

import pytest

import archsim
import mappers
from archsim import InputError, MappingError, ScheduleError
from archsim.engine import flat_file
from archsim.engine.compiled.engine import run as run_compiled
from archsim.engine.flat import Flat, FlatRun, FlatTask, FlatUnit, flatten, merged
from dataflow import attention
from dataflow.op import work
from dataflow.pattern import every, sequence
from dataflow.section import Section
from dataflow.task import Stream, Task
from kernels.limits import BATCH, COMBINATIONS, LAYERS
from mappers.spatial.mapper import Spatial

SECONDS = 20  # linear checks take 2 s; with a list searched for each of its entries it was minutes


def hub(n: int) -> tuple[tuple[Task, ...], tuple[Stream, ...]]:
    """A task that takes from n others and gives to n others, all on one unit."""
    read = every(work("read", bytes=1))
    ends = [Task(f"from{i}", "ddr", 1, read, {}, {f"in{i}": every(1)}) for i in range(n)]
    ends += [Task(f"to{i}", "ddr", 1, read, {f"out{i}": every(1)}, {}) for i in range(n)]
    takes, gives = ({f"{way}{i}": every(1) for i in range(n)} for way in ("in", "out"))
    streams = tuple(Stream(f"{way}{i}", 2) for i in range(n) for way in ("in", "out"))
    return (*ends[:n], Task("hub", "ddr", 1, read, takes, gives), *ends[n:]), streams


def test_checks_take_time_in_proportion_to_the_section() -> None:
    began = time.monotonic()
    section = Section("hub", *hub(25_000))
    flat = flatten(section, archsim.load_design("toy"))
    assert not list(flat_file._problems(flat))
    assert len(flat.tasks) == 50_001
    assert time.monotonic() - began < SECONDS


def test_a_dead_cycle_through_a_hub_is_found() -> None:
    read = every(work("read", bytes=1))
    a = Task("a", "ddr", 1, read, {"back": every(1), "x": every(1)}, {"there": every(1)})
    b = Task("b", "ddr", 1, read, {"there": every(1)}, {"back": every(1), "y": every(1)})
    ends = (Task("p", "ddr", 1, read, {}, {"x": every(1)}), Task("q", "ddr", 1, read, {"y": every(1)}, {}))
    with pytest.raises(ScheduleError, match="streams 'back', 'there' form a cycle without initial tokens"):
        Section("s", (a, b, *ends), tuple(Stream(name, 1) for name in ("back", "there", "x", "y")))


def test_a_model_of_many_layers_is_counted_and_not_written_down() -> None:
    model = archsim.load_model("toy_llm").model_copy(update={"layers": 10**9})
    assert model.parameters > 10**9
    assert model.weight_bytes > 10**9


def test_a_limit_itself_is_taken() -> None:
    model = archsim.load_model("toy_llm").model_dump()
    assert type(archsim.load_model("toy_llm")).model_validate({**model, "layers": LAYERS}).layers == LAYERS
    mappers.run("streaming_machine", "toy_llm", phase="attention", prompt=1, context=1, batch=BATCH, mapper=Spatial(
        heads="sequential"))  # fmt: skip


@pytest.mark.parametrize("heads", ["parallel", "sequential"])
def test_streams_of_too_many_sequences_are_refused(heads: str) -> None:
    graph = attention(queries=4, keys=4, head_dim=2, batch=2**60)
    with pytest.raises(MappingError, match="to write down, at most"):
        mappers.lower(graph, archsim.load_design("streaming_machine"), heads=heads)


def test_a_rule_is_not_run_on_more_keys_than_memory_holds() -> None:
    model = archsim.load_model("toy_video").model_copy(update={"max_context": 10**12})
    with pytest.raises(InputError, match="bytes of keys and queries to run the rule on, at most 8,589,934,592"):
        mappers.run("toy_retrieval", model, phase="decode", context=10**12, selection="resv")


def test_a_sweep_of_endless_values_is_refused() -> None:
    with pytest.raises(InputError, match=f"over: {COMBINATIONS + 1:,} combinations, at most {COMBINATIONS:,}; sweep"):
        mappers.sweep("toy", "toy_llm", phase="decode", over={"context": iter(range(10**12))})


def test_more_firings_under_way_than_an_engine_keeps_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    task = FlatTask("t", 0, 10**9, (FlatRun(1, 1, (), ()),))
    unit = FlatUnit("u", "u", 10**9, 0, ((0, 10**9),), (0,))
    monkeypatch.setattr("archsim.engine.compiled.clock.EVENTS_AT_ONCE", 2**12)
    with pytest.raises(ScheduleError, match=r"8,192 firings and tokens under way at once, at most 4,096; take fewer"):
        run_compiled(Flat("s", (task,), (), (unit,)))


def test_patterns_of_coprime_periods_are_not_written_out() -> None:
    read, turns = every(work("read", bytes=1)), [sequence(*[(1, 1), (2, 1)] * n, (1, 1)) for n in (5000, 5001)]
    given = {f"s{i}": pattern for i, pattern in enumerate(turns)}
    task = Task("t", "ddr", 10_001 * 10_003, read, {}, given)
    with pytest.raises(ScheduleError, match="task 't': 200,080,006 runs of firings to write down, at most 4,194,304"):
        merged(task)
