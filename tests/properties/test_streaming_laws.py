"""Laws in closed form that attention as streams, and other streaming graphs, keep to the cycle.

R rows of N columns on nodes of interval 1 and latency L: the token of a firing that starts at t can be taken at t + L.
Source of the laws of the naive and the memory-free form and of the golden integers: arXiv 2404.16629, derived.
The others are derived here, by the start of the last row's last element at each node.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from archsim import Deadlock, Design, Report, load_design, simulate, size_fifos
from dataflow import CASCADES, UNLIMITED, Schedule, attention, passes
from mappers.spatial.mapper import Spatial

MACHINE = load_design("streaming_machine")
FORMS = ("naive", "scaled", "reordered", "reordered_without_max", "memory_free")
SIZES = [(16, 16), (32, 8), (5, 3), (1, 7), (7, 1), (1, 1), (2, 9)]
LATENCIES = (1, 2, 5)


def machine(latency: int = 1, *, long: int | str = "inf", short: int | str = "inf") -> Design:
    """The streaming machine with nodes of latency L and FIFOs of these depths."""
    cycles = {f"units.{name}.latency_cycles": latency - 1 for name in MACHINE.units}
    return MACHINE.with_({**cycles, "fifos": {"long": long, "short": short}})


def lowered(form: str, n: int, r: int, design: Design, **options: str) -> Schedule:
    return Spatial(form=form, **options).lower(attention(queries=r, keys=n, head_dim=1, causal=False), design)


def run(form: str, n: int, r: int, latency: int = 1, **depths: int | str) -> Report:
    design = machine(latency, **depths)
    return simulate(lowered(form, n, r, design), design)


def law(form: str, n: int, r: int, latency: int) -> int:
    """Cycles with deep FIFOs, by the chain of the last row: a barrier adds N - 1 + L, a node L, the sink 1.

    The score's last row starts at (R - 1) N and its element j at j. naive: exp, sum (complete at N - 1 + 3 L), then
    divide walks the row again, output, sink. scaled: max, exp walks the row again, sum, divide a third time. reordered:
    max, exp walks again, sum and values together, one division per row. The others walk once.
    """
    return {
        "naive": r * n + n + 5 * latency - 1,
        "scaled": r * n + 2 * n + 6 * latency - 2,
        "reordered": r * n + n + 5 * latency - 1,
        "reordered_without_max": r * n + 4 * latency,
        "memory_free": r * n + 4 * latency,
    }[form]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("n, r", SIZES)
def test_cycles_with_deep_fifos(form: str, n: int, r: int, latency: int) -> None:
    report = run(form, n, r, latency)
    assert report.cycles == law(form, n, r, latency)
    assert report.cycles >= report.lower_bound_cycles


@pytest.mark.parametrize("n, r, cycles", [(16, 16, 276), (32, 32, 1060), (64, 64, 4164), (32, 8, 292)])
def test_golden_cycles_of_the_naive_form(n: int, r: int, cycles: int) -> None:
    assert run("naive", n, r, long=n + 2, short=2).cycles == cycles


@pytest.mark.parametrize("n, r, cycles", [(16, 16, 260), (32, 32, 1028), (64, 64, 4100), (32, 8, 260)])
def test_golden_cycles_of_the_memory_free_form(n: int, r: int, cycles: int) -> None:
    assert run("memory_free", n, r, long=1, short=2).cycles == cycles


@pytest.mark.parametrize("depth, cycles", [(62, None), (63, None), (64, 594), (65, 587), (66, 580), ("inf", 580)])
def test_golden_depths_of_the_naive_form(depth: int | str, cycles: int | None) -> None:
    if cycles is None:
        with pytest.raises(Deadlock):
            run("naive", 64, 8, long=depth, short=2)
    else:
        assert run("naive", 64, 8, long=depth, short=2).cycles == cycles


@pytest.mark.parametrize("form", ["naive", "reordered", "scaled"])
@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("n, r", [(16, 4), (33, 3), (7, 1)])
def test_a_long_fifo_deadlocks_below_n_and_is_free_from_n_plus_2l(form: str, latency: int, n: int, r: int) -> None:
    """Between the two every row but the first is late by what is missing; a second long FIFO is as late, not later."""
    with pytest.raises(Deadlock):
        run(form, n, r, latency, long=n - 1)
    for depth in range(n, n + 2 * latency):
        late = (r - 1) * (n + 2 * latency - depth)
        assert run(form, n, r, latency, long=depth).cycles == law(form, n, r, latency) + late
    for depth in (n + 2 * latency, n + 2 * latency + 5):
        assert run(form, n, r, latency, long=depth).cycles == law(form, n, r, latency)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [16, 64, 256, 1024, 4096])
@pytest.mark.parametrize("latency", [1, 4])
def test_highest_occupancy_without_bounds(form: str, n: int, latency: int) -> None:
    """N + 2 L where a row waits for its own sum or maximum, L + 1 for every N where none does."""
    report = run(form, n, 2 if n > 1000 else 3, latency)
    highest = max(peak for peak, _, _ in report.peaks.values())
    assert highest == (latency + 1 if form in ("memory_free", "reordered_without_max") else n + 2 * latency)
    long = [peak for peak, _, _ in report.peaks.values() if peak > latency + 1]
    assert len(long) == {"naive": 1, "scaled": 2, "reordered": 1}.get(form, 0)


@pytest.mark.parametrize("latency", [1, 2, 3, 7])
def test_short_fifos_set_the_interval(latency: int) -> None:
    """One token every (L + 1) / depth cycles below L + 1 places, one a cycle from there: exact over `depth` rows."""
    n = 24
    for depth in range(1, latency + 4):
        fewer, more = (run("memory_free", n, r, latency, short=depth).cycles for r in (2, 2 + depth))
        assert more - fewer == n * max(depth, latency + 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n, r", [(12, 12), (12, 5), (9, 1)])
@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("latency", [1, 3])
def test_masked_scores_take_no_time(form: str, n: int, r: int, window: int | None, latency: int) -> None:
    """With P scores left, rows of growing length and M the last: P stands for R N and M for N in the laws."""
    design = machine(latency)
    schedule = Spatial(form=form).lower(attention(queries=r, keys=n, head_dim=1, window=window), design)
    lengths = [min(n - r + i + 1, window or n) for i in range(r)]
    assert schedule.graph.ops["attention"].work.pairs == sum(lengths)
    expected = law(form, lengths[-1], 1, latency) - lengths[-1] + sum(lengths)
    assert simulate(schedule, design).cycles == expected


@pytest.mark.parametrize("form", FORMS)
def test_heads_side_by_side_take_the_time_of_one_and_in_a_row_that_of_their_rows(form: str) -> None:
    n, r = 8, 3
    graph = attention(queries=r, keys=n, head_dim=4, heads=4, kv_heads=2, batch=2, causal=False)
    design = machine(2)
    assert simulate(Spatial(form=form).lower(graph, design), design).cycles == law(form, n, r, 2)
    one_by_one = Spatial(form=form, heads="sequential").lower(graph, design)
    assert simulate(one_by_one, design).cycles == law(form, n, 8 * r, 2)


@pytest.mark.parametrize("form", ["naive", "scaled"])
@pytest.mark.parametrize("long", [31, 32, 34, "inf"])
def test_the_order_in_which_things_are_listed_changes_nothing(form: str, long: int | str) -> None:
    """Twenty shuffles of tasks and streams: the same cycles, stalls and peaks, or the same words on the deadlock."""
    design = machine(1, long=long, short=2)
    schedule = lowered(form, 32, 4, design)

    def answer(schedule: Schedule) -> tuple[object, ...]:
        try:
            report = simulate(schedule, design)
        except Deadlock as deadlock:
            return (str(deadlock),)
        return report.cycles, report.units, dict(sorted(report.peaks.items())), report.ops, report.parts

    expected = answer(schedule)
    for seed in range(20):
        random = Random(seed)
        (section,) = schedule.sections
        tasks, streams = list(section.tasks), list(section.streams)
        random.shuffle(tasks)
        random.shuffle(streams)
        assert answer(replace(schedule, sections=(replace(section, tasks=tuple(tasks), streams=tuple(streams)),))) == (
            expected
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("latency", [1, 3])
@pytest.mark.parametrize("n", [16, 65])
def test_size_fifos_finds_the_depths_of_the_law(form: str, latency: int, n: int) -> None:
    """N + 2 L where a row waits, L + 1 for every other stream of scores, one for what comes once a row."""
    design = machine(latency, long=1, short=1)
    sizes = size_fifos(lowered(form, n, 3, design), design)
    assert sizes.cycles == sizes.unbounded_cycles == law(form, n, 3, latency)
    crossings = {f"{a} > {b}" for a, b in passes(CASCADES[form]).crossings}
    for fifo in sizes.fifos:
        name = fifo.name.removeprefix("attention: ")
        by_score = "key" in CASCADES[form].ranks(name.split(" > ")[0])
        assert fifo.minimal == (n + 2 * latency if name in crossings else latency + 1 if by_score else 1), name
        assert fifo.proof == "refused" if fifo.minimal == 1 else fifo.proof > sizes.cycles


@pytest.mark.parametrize("form", ["naive", "scaled", "reordered"])
def test_what_must_be_live_is_what_keeps_it_from_deadlock(form: str) -> None:
    """With all the time in the world each long FIFO still holds a row: the bound that follows from the passes."""
    n, design = 20, machine(2)
    found = passes(CASCADES[form])
    sizes = size_fifos(lowered(form, n, 3, design), design, target=100_000)
    for fifo in sizes.fifos:
        waits = tuple(fifo.name.removeprefix("attention: ").split(" > ")) in found.crossings
        assert fifo.minimal == (found.live_elements(n) if waits else 1)
        assert fifo.proof == ("deadlock" if waits else "refused")


NOT_IN_ATTENTION = ("repeat", "broadcast")  # a node's result may go to several; tests/properties/test_channel_laws.py


@pytest.mark.parametrize("unit", MACHINE.units)
@pytest.mark.parametrize("key", ["interval_cycles", "latency_cycles"])
def test_every_number_of_the_machine_shows(unit: str, key: str) -> None:
    changed = MACHINE.with_({f"units.{unit}.{key}": 2})
    graph = attention(queries=2, keys=4, head_dim=1)
    shows = [
        form
        for form in FORMS
        if simulate(Spatial(form=form).lower(graph, changed), changed).cycles
        != simulate(Spatial(form=form).lower(graph, MACHINE), MACHINE).cycles
    ]
    # Nothing waits for what a sink gives: it gives nothing.
    assert bool(shows) == (unit not in NOT_IN_ATTENTION and (unit, key) != ("sink", "latency_cycles"))


def test_an_unlimited_fifo_is_said_to_be_one() -> None:
    schedule = lowered("naive", 8, 2, machine(1, short=2))
    assert [s.name for s in schedule.sections[0].streams if s.depth == UNLIMITED] == ["exp > divide"]
    assert any(note.startswith("fifos.long") for note in schedule.approximated)
    bounded = lowered("naive", 8, 2, machine(1, long=10, short=2))
    assert not any(note.startswith("fifos") for note in bounded.approximated)
