"""Every mapper on every shipped design that it takes: valid, complete, from the home, within each memory, and the same.

Which graphs a mapper takes on a design is written down, so that neither a refusal nor an acceptance is lost unseen.
"""

from functools import cache
from typing import Any

import pytest

from archsim import MappingError, load_design, load_model, simulate
from archsim.files.data_folder import shipped
from archsim.report.report import Report
from archsim.run.capacity import NOWHERE
from contracts.renamed import renamed
from dataflow import OP_KINDS, Graph, Schedule, phase_named
from dataflow.models.model import Model
from mappers import MAPPERS, lower
from mappers.build.placement import reader_of, way_in

TERNARY, VIDEO = "toy_llm", "toy_video"
GRAPHS: dict[str, tuple[str, str, dict[str, int]]] = {
    "attention": (TERNARY, "attention", {"prompt": 3, "context": 5}),
    "ternary decode": (TERNARY, "decode", {"context": 5}),
    "ternary decode of a batch": (TERNARY, "decode", {"context": 5, "batch": 3}),
    "ternary prefill": (TERNARY, "prefill", {"prompt": 4}),
    "ternary question": (TERNARY, "question", {"context": 9, "prompt": 3}),
    "decode": (VIDEO, "decode", {"context": 24}),
    "decode of a batch": (VIDEO, "decode", {"context": 5, "batch": 3}),
    "prefill": (VIDEO, "prefill", {"prompt": 40}),
    "question": (VIDEO, "question", {"context": 9, "prompt": 3}),
    "frame": (VIDEO, "frame", {"context": 24}),
    "wide decode": ("bitnet_b158_large", "decode", {"context": 5}),
    "wide prefill": ("bitnet_b158_large", "prefill", {"prompt": 9}),
}
BY_TERNARY = {name for name in GRAPHS if name.startswith(("ternary", "wide"))}
WITHOUT_TERNARY = set(GRAPHS) - BY_TERNARY
TAKEN: dict[tuple[str, str], set[str]] = {
    ("a100", "retrieval"): set(GRAPHS), ("agx_orin", "retrieval"): set(GRAPHS),
    ("streaming_machine", "spatial"): {"attention"},
    ("tellme_kv260", "table_lookup"): {"wide decode", "wide prefill"},
    # They have no unit for ternary products nor for the pools of a vision tower.
    **{(design, "tiled"): WITHOUT_TERNARY - {"frame"}
       for design in ("systolic_array", "systolic_two_level", "tpu_v4i")},
    **{(design, "tiled"): set(GRAPHS) for design in ("a100", "agx_orin")},
    **{(design, "spatial"): WITHOUT_TERNARY for design in ("plasticine", "sn40l", "sn40l_node")},
    # It has no unit for the norms of a vision tower, and the wide weights do not fit.
    ("toy", "tiled"): set(GRAPHS) - {"frame", "wide decode", "wide prefill"},
    **{(design, mapper): WITHOUT_TERNARY for design in ("toy_retrieval", "vrex8", "vrex48")
       for mapper in ("retrieval", "tiled")},
}  # fmt: skip
CASES = [(design, mapper, name) for (design, mapper), names in TAKEN.items() for name in sorted(names)]


@cache
def network(name: str) -> Model:
    return load_model(name).model_copy(update={"layers": 2})


@cache
def graph_of(name: str) -> Graph:
    model, phase, fields = GRAPHS[name]
    return phase_named(phase, fields).graph(network(model))


@cache
def ran(design: str, mapper: str, name: str) -> tuple[Schedule, Report]:
    on = load_design(design)
    schedule = lower(graph_of(name), on, mapper=mapper)
    # A run checks the laws: work, bytes, capacity, shared queues, and times that add up.
    return schedule, simulate(schedule, on, engine="compiled")


@pytest.mark.parametrize("design", shipped())
def test_what_is_not_taken_is_refused(design: str) -> None:
    """Also shows that no design is forgotten: each is taken by a mapper or refuses every graph."""
    on = load_design(design)
    assert any(taken == design for taken, _ in TAKEN)
    for mapper in ("retrieval", "spatial", "table_lookup", "tiled"):
        for name in set(GRAPHS) - TAKEN.get((design, mapper), set()):
            with pytest.raises(MappingError):
                lower(graph_of(name), on, mapper=mapper)


def test_every_mapper_of_the_package_is_here() -> None:
    # Others have been added by --with or by a test.
    ours = {name for name, mapper in MAPPERS.items() if mapper.__module__.startswith("mappers.")}
    assert ours == {mapper for _, mapper in TAKEN}


@pytest.mark.parametrize(("design", "mapper", "name"), CASES)
def test_it_does_the_work_of_the_graph_and_no_more(design: str, mapper: str, name: str) -> None:
    schedule, report = ran(design, mapper, name)
    done, asked, left = schedule.counts(), graph_of(name).counts(), schedule.left_out()
    for what in ("mac", "exp", "flop"):
        expected = asked.get(what, 0) + schedule.recomputed.get(what, 0) - left.get(what, 0)
        assert done.get(what, 0) == expected, what
    assert {op.name for op in report.ops} == {o.name for o in graph_of(name).ops.values() if not OP_KINDS[o.kind].free}


@pytest.mark.parametrize(("design", "mapper", "name"), CASES)
def test_products_are_multiplied_in_the_format_of_their_op(design: str, mapper: str, name: str) -> None:
    schedule, graph = ran(design, mapper, name)[0], graph_of(name)
    for task in (task for section in schedule.sections for task in section.tasks):
        # The work of a node is that of an expression.
        for op in (graph.ops[op] for op in task.ops if design != "streaming_machine"):
            formats = {item.format for item, _ in task.work if item.kind.startswith(op.kind)}
            assert formats <= {op.work.format}, task.name


@pytest.mark.parametrize(("design", "mapper", "name"), CASES)
def test_tensors_are_read_from_their_home(design: str, mapper: str, name: str) -> None:
    schedule, report = ran(design, mapper, name)
    on, graph, left = load_design(design), graph_of(name), schedule.left_out()
    if mapper == "table_lookup":
        # Weights lie in the loader's layout, which pads them; the host gathers the embedding.
        for role in ("weight", "lm_head", "cache"):
            needed = sum(graph.loads(op).get(role, 0) for op in graph.ops.values() if not OP_KINDS[op.kind].free)
            assert report.traffic["ddr"]["read", role] >= needed
        return
    expected: dict[tuple[str, str], int] = {}
    for op in graph.ops.values():
        if OP_KINDS[op.kind].free:
            continue
        for role, size in graph.loads(op).items():
            way = way_in(on, reader_of(on, op, graph), role)
            for memory in (one for one in way if "read" in on.units[one].does):
                expected[memory, role] = expected.get((memory, role), 0) + size
    for (memory, role), size in expected.items():
        found = report.traffic[memory].get(("read", role), 0)
        if mapper == "tiled" or role != "cache":
            # A tile comes again where the loops have turned to others in between.
            assert found >= size, (memory, role)
            continue
        # A selection's own step reads what it keeps; new keys are on chip.
        step = sum(graph.bytes_stored(op) for op in graph.ops.values())
        fetched = report.traffic[on.tiers[-1]].get(("read", "fetched"), 0) if on.tiers else 0
        assert found + fetched + left.get("cache", 0) + step >= size
    unread = {m: {role for way, role in moved if way == "read"} for m, moved in report.traffic.items()}
    for memory, roles in unread.items():
        assert roles <= {role for m, role in expected if m == memory} | {"activation", "input", "metadata", "evicted",
                                                                        "fetched"}  # fmt: skip


@pytest.mark.parametrize(("design", "mapper", "name"), CASES)
def test_what_lies_in_a_memory_fits_it(design: str, mapper: str, name: str) -> None:
    _, report = ran(design, mapper, name)
    on = load_design(design)
    for memory, contents in report.held.items():
        assert all(size > 0 for size in contents.values())
        if memory != NOWHERE:
            assert sum(contents.values()) <= on.units[memory].capacity


@pytest.mark.parametrize(("design", "mapper", "name"), CASES)
def test_it_is_the_same_again_on_both_engines_and_under_other_names(design: str, mapper: str, name: str) -> None:
    schedule, report = ran(design, mapper, name)
    on = load_design(design)
    again = lower(graph_of(name), on, mapper=mapper)
    assert again == schedule
    if schedule.run_firings < 200_000:
        assert simulate(again, on, engine="simpy").cycles == report.cycles
    other, names = renamed(on, seed=3)
    found = simulate(lower(graph_of(name), other, mapper=mapper), other, engine="compiled")
    assert figures(found, {unit: unit for unit in found.units}) == figures(report, names)


def figures(report: Report, names: dict[str, str]) -> Any:
    held = {names.get(memory, memory): dict(contents) for memory, contents in report.held.items()}
    traffic = {names[memory]: moved for memory, moved in report.traffic.items()}
    busy = {names[unit]: one.busy_cycles for unit, one in report.units.items()}
    return report.cycles, report.lower_bound_cycles, report.roofline and report.roofline[0], held, traffic, busy
