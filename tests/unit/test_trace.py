"""Traces: a run counted by hand, sums that are those of the report, the form of the events, windows and limits."""

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil

import jsonschema
import pytest

import archsim
import mappers
from archsim import InputError
from archsim.engine import ENGINES
from archsim.engine.flat import flatten
from archsim.report.trace.axis import Axis, microseconds
from archsim.report.trace.contents import LIMIT, by_default, within_window
from archsim.report.trace.events import FIFOS, UNITS
from archsim.report.window import timeline_of

# Two tiles of a product of 2 x 4 over 3 in bf16, one at a time: each is loaded in 12 cycles and multiplied in 12.
TILES = {"mapping": {"order": "time", "tile": {"m": 2, "k": 3, "n": 2}, "buffers": 1, "ahead": "op"}}
RUNS = {
    "tellme_kv260": ("bitnet_b158_large", {"phase": "decode", "context": 64}),
    "vrex8": ("videollm_online_8b", {"phase": "frame", "context": 300}),
    "sn40l": ("llama3_8b", {"phase": "decode", "context": 512}),
    "tpu_v4i": ("llama2_7b", {"phase": "prefill", "prompt": 40}),
    "plasticine": ("llama2_7b", {"phase": "decode", "context": 300}),
    "streaming_machine": ("toy_llm", {"phase": "attention", "prompt": 8, "context": 8}),
    "toy": ("toy_llm", {"phase": "decode", "context": 16}),
}  # fmt: skip


def traced(report, tmp_path, **window):
    path = tmp_path / "trace.json"
    told = report.trace(path, **window)
    return json.loads(path.read_text()), told


def run_of(design, **asked):
    model, run = RUNS[design]
    small = archsim.load_model(model).model_copy(update={"layers": 2})
    return mappers.run(design, small, **run, **asked)


def names(events, what="thread_name"):
    return {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == what}


def slices(events, category):
    track = names(events)
    return [
        (track[one["pid"], one["tid"]], one["name"], one["ts"], one["dur"])
        for one in events if one["ph"] == "X" and one["cat"] == category
    ]  # fmt: skip


def test_a_run_counted_by_hand(tmp_path):
    report = mappers.run(archsim.load_design("toy").with_(TILES), archsim.load_workload("gemm:2x4x3"))
    trace, told = traced(report, tmp_path)
    events = trace["traceEvents"]
    assert report.cycles == 48
    assert told == "all firings of the run"
    assert slices(events, "busy") == [
        ("ddr", "load gemm", 0, 12), ("mm", "gemm", 12, 12),
        ("ddr", "load gemm", 24, 12), ("mm", "gemm", 36, 12),
    ]  # fmt: skip
    assert slices(events, "starved") == [
        ("mm waits", "starved: load gemm > gemm", 0, 12),
        ("ddr waits", "starved: load gemm freed, of 1", 12, 12),
        ("mm waits", "starved: load gemm > gemm", 24, 12),
    ]
    assert slices(events, "blocked") == []
    assert slices(events, "section") == [("sections", "gemm", 0, 48)]
    assert slices(events, "op") == [("ops [0]", "gemm", 12, 36)]
    flows = [(one["ph"], one["name"], one["ts"], one["id"]) for one in events if one["ph"] in "sf"]
    assert flows == [
        ("s", "load gemm > gemm", 11.999, 1), ("f", "load gemm > gemm", 12, 1),
        ("s", "load gemm > gemm", 35.999, 2), ("f", "load gemm > gemm", 36, 2),
        ("s", "load gemm freed, of 1", 23.999, 3), ("f", "load gemm freed, of 1", 24, 3),
    ]  # fmt: skip
    # A place is taken from the start of the load to the end of the product; the signal that it is free lies there at 0.
    assert places(events) == [
        ("gemm: load gemm > gemm (depth 1)", 0, 1), ("gemm: load gemm > gemm (depth 1)", 48, 0),
        ("gemm: load gemm freed, of 1 (depth 1)", 0, 1), ("gemm: load gemm freed, of 1 (depth 1)", 48, 0),
    ]  # fmt: skip


def places(events):
    return [(one["name"], one["ts"], one["args"]["places"]) for one in events if one["ph"] == "C"]


def test_places_counted_by_hand(tmp_path):
    """With two places the second load runs beside the first product: both places are taken from 12 to 24."""
    two = {"mapping": {**TILES["mapping"], "buffers": 2}}
    report = mappers.run(archsim.load_design("toy").with_(two), archsim.load_workload("gemm:2x4x3"))
    assert report.cycles == 36
    found = [place for place in places(traced(report, tmp_path)[0]["traceEvents"]) if "> gemm" in place[0]]
    tiles = "gemm: load gemm > gemm (depth 2)"
    assert found == [(tiles, 0, 1), (tiles, 12, 2), (tiles, 24, 1), (tiles, 36, 0)]


SCHEMA = {
    "type": "object",
    "required": ["traceEvents", "displayTimeUnit", "otherData"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "traceEvents": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["ph", "pid", "name"],
                "properties": {
                    "ph": {"enum": ["M", "X", "s", "f", "C"]}, "name": {"type": "string"}, "cat": {"type": "string"},
                    "pid": {"type": "integer"}, "tid": {"type": "integer"}, "args": {"type": "object"},
                    "ts": {"type": "number", "minimum": 0}, "dur": {"type": "number", "minimum": 0},
                },
                "oneOf": [
                    {"properties": {"ph": {"const": "M"}}, "required": ["args", "tid"], "not": {"required": ["ts"]}},
                    {"properties": {"ph": {"const": "X"}}, "required": ["ts", "dur", "tid", "cat"]},
                    {"properties": {"ph": {"const": "s"}}, "required": ["ts", "tid", "id", "cat"]},
                    {"properties": {"ph": {"const": "f"}, "bp": {"const": "e"}}, "required": ["ts", "id", "cat", "bp"]},
                    {
                        "properties": {"ph": {"const": "C"}, "args": {"additionalProperties": {"type": "number"}}},
                        "required": ["ts", "args"],
                    },
                ],
            },
        },
    },
}  # fmt: skip


def nanoseconds(microseconds):
    return int(1000 * microseconds)  # as viewers do


def test_every_nanosecond_is_read_again():
    for start in (0, 10**6, 10**9, 10**12 + 123, 10**15):
        for ns in range(start, start + 3000):
            text = microseconds(ns)
            assert nanoseconds(float(text)) == ns
            assert 1000 * int(text.partition(".")[0]) + int(1000 * float("0." + text.partition(".")[2])) == ns


CLOCKS = [
    10**6, 250 * 10**6, 800 * 10**6, 10**9, 1050 * 10**6, 1410 * 10**6, 1600 * 10**6, 10**12, 10**12 + 1, 3 * 10**12,
    10**15, 7 * 10**15,
]  # fmt: skip


@pytest.mark.parametrize("hertz", CLOCKS)
def test_every_cycle_has_a_place_of_its_own(hertz):
    axis = Axis(Fraction(hertz))
    for start in (0, 10**12):
        places = [axis.nanoseconds(cycle) for cycle in range(start, start + 5000)]
        assert all(a < b for a, b in pairwise(places))
        exact = Fraction(10**9 * axis.stretched, hertz)
        assert all(0 <= cycle * exact - place < 1 for cycle, place in enumerate(places, start))


@pytest.mark.parametrize(
    "hertz, told",
    [
        (10**9, "the time"),
        (10**9 + 1, "1000 times the time: a nanosecond is a picosecond"),
        (10**12, "1000 times the time: a nanosecond is a picosecond"),
        (10**12 + 1, "1000000 times the time: a nanosecond is a femtosecond"),
        (10**15 + 1, "1000000000 times the time: a nanosecond is less than a femtosecond"),
    ],
)
def test_the_axis_says_how_long_it_is(hertz, told):
    assert Axis(Fraction(hertz)).told == told


@pytest.mark.parametrize("design", RUNS)
def test_slices_are_in_order_on_each_track_and_flows_lie_in_slices(design, tmp_path):
    trace, _ = traced(run_of(design), tmp_path)
    events = trace["traceEvents"]
    some = events[:: 1 + len(events) // 2000]  # one in so many, as jsonschema takes a millisecond for each
    jsonschema.validate({**trace, "traceEvents": some}, SCHEMA)
    tracks = {}
    for one in events:
        if one["ph"] == "X":
            span = nanoseconds(one["ts"]), nanoseconds(one["ts"]) + nanoseconds(one["dur"])
            tracks.setdefault((one["pid"], one["tid"]), []).append(span)
    assert tracks.keys() == names(events).keys()
    for spans in tracks.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    begun = {}
    inside = {track: set(spans) for track, spans in tracks.items()}
    starts = {track: {start for start, _ in spans} for track, spans in inside.items()}
    ends = {track: {end for _, end in spans} for track, spans in inside.items()}
    for one in events:
        at = nanoseconds(one.get("ts", 0))
        if one["ph"] == "s":
            assert one["id"] not in begun
            begun[one["id"]] = at, one["name"]
            assert at + 1 in ends[one["pid"], one["tid"]] or (at, at) in inside[one["pid"], one["tid"]]
        elif one["ph"] == "f":
            assert at in starts[one["pid"], one["tid"]]
            given, name = begun.pop(one["id"])
            assert given <= at
            assert name == one["name"]
    assert not begun


@pytest.mark.parametrize("design", RUNS)
def test_sums_and_peaks_are_those_of_the_report(design, tmp_path):
    report = run_of(design)
    trace, told = traced(report, tmp_path)
    assert "left out" not in told
    events, recorded = trace["traceEvents"], trace["otherData"]["recorded"]
    assert all(one["whole"] for one in recorded)
    repeats = {section.name: section.repeat for section in report.origin.schedule.sections}
    assert [one["section"] for one in recorded] == list(repeats)
    flats = [flatten(section, report.origin.design) for section in report.origin.schedule.sections]
    server = {unit.name: (unit.of, unit.gang) for flat in flats for unit in flat.units}
    track, axis = names(events), Axis(report.clock_hz)
    sums = Counter()
    for one in events:
        if one["ph"] != "X" or one["pid"] != UNITS:
            continue
        start, cycles = one["args"]["start_cycle"], one["args"]["cycles"]
        assert nanoseconds(one["ts"]) == axis.nanoseconds(start)
        # No two cycles have one place on the axis, so that the cycle of a place is known.
        first = nanoseconds(one["ts"])
        assert [
            ceil(at * report.clock_hz / (10**9 * axis.stretched))
            for at in (first, first + nanoseconds(one["dur"]))
        ] == [start, start + cycles]  # fmt: skip
        of = [it["section"] for it in recorded if it["start_cycle"] <= start < it["end_cycle"]]
        times = repeats[of[0]] if cycles else 0
        name = track[one["pid"], one["tid"]]
        busy = one["cat"] == "busy"
        unit, gang = server[name.split(" [")[0]] if busy else server[name.removesuffix(" waits")]
        sums[unit, one["cat"]] += times * cycles * (gang if busy else one["args"]["servers"])
    for name, unit in report.units.items():
        told = (unit.busy_cycles, unit.starved_cycles, unit.blocked_cycles)
        assert tuple(sums[name, cause] for cause in ("busy", "starved", "blocked")) == told
    most = Counter()
    for one in events:
        if one["ph"] == "C":
            stream = one["name"].rpartition(" (")[0]
            most[stream] = max(most[stream], one["args"]["places"])
    assert dict(most) == {name: peak for name, (peak, _, _) in report.peaks.items()}


@pytest.mark.parametrize("design", ["tellme_kv260", "sn40l", "tpu_v4i", "toy"])
def test_both_engines_give_the_same_bytes(design, tmp_path):
    texts = []
    for engine in ENGINES:
        run_of(design, engine=engine).trace(tmp_path / engine)
        texts.append((tmp_path / engine).read_bytes())
    assert texts[0] == texts[1]


def test_the_whole_run_as_a_window_has_every_repetition(tmp_path):
    report = run_of("toy")
    trace, told = traced(report, tmp_path, window="..")
    assert told == f"all firings of cycles 0 to {report.cycles:,}"
    events = trace["traceEvents"]
    for name, unit in report.units.items():
        assert sum(dur for track, _, _, dur in slices(events, "busy") if track == name) == unit.busy_cycles
    fired = [one for one in events if one["ph"] == "X" and one["cat"] == "busy"]
    assert len(fired) == report.firings
    # The same task of another layer serves the ops of that layer.
    layers = {one["args"]["ops"].partition(".")[0] for one in fired if one["name"] == "up"}
    assert layers == {"layer0", "layer1"}


def test_a_window_cuts_what_lies_across_its_ends(tmp_path):
    report = mappers.run(archsim.load_design("toy").with_(TILES), archsim.load_workload("gemm:2x4x3"))
    trace, told = traced(report, tmp_path, window="6 us..20")
    events = trace["traceEvents"]
    assert told == "all firings of cycles 6 to 20"
    assert slices(events, "busy") == [("ddr", "load gemm", 6, 6), ("mm", "gemm", 12, 8)]
    cut = [one["args"].get("cut_from") for one in events if one["ph"] == "X" and one["cat"] == "busy"]
    assert cut == ["cycles 0 to 12", "cycles 12 to 24"]
    assert slices(events, "starved") == [
        ("mm waits", "starved: load gemm > gemm", 6, 6),
        ("ddr waits", "starved: load gemm freed, of 1", 12, 8),
    ]


def test_a_run_of_millions_of_firings_is_cut_and_says_so(tmp_path):
    report = mappers.run("tellme_kv260", "bitnet_b158_large", phase="prefill", prompt=128)
    trace, told = traced(report, tmp_path)
    recorded = [one for one in trace["traceEvents"] if one["pid"] in (UNITS, FIFOS) and one["ph"] != "M"]
    assert 0.9 * LIMIT < len(recorded) < 1.02 * LIMIT  # the last levels of FIFOs come on top
    cut = {one["section"]: one["end_cycle"] - one["start_cycle"] for one in trace["otherData"]["recorded"]}
    each = "cycles of the first repetition of each section (in full: embedding)"
    assert told.startswith(f"the firings of the first {cut['layers']:,} {each}")
    fired = sum(one["ph"] == "X" and one["cat"] == "busy" for one in recorded)
    every = report.origin.schedule.run_firings
    assert f"left out are {every - fired:,} of {every:,} firings, to stay below 200,000 events" in told
    assert told in next(one["args"]["labels"] for one in trace["traceEvents"] if one["name"] == "process_labels")
    # The whole run is there as sections and ops.
    assert sum(dur for *_, dur in slices(trace["traceEvents"], "section")) == pytest.approx(report.seconds * 1e6)
    assert len(slices(trace["traceEvents"], "op")) == len(report.ops)


def test_a_limit_takes_the_same_cycles_of_each_section():
    timeline = timeline_of(run_of("toy"), what="test")
    whole, cut = by_default(timeline), by_default(timeline, limit=60)
    assert all(stretch.is_whole for stretch in whole.stretches)
    lengths = [stretch.recording.end for stretch in cut.stretches]
    most = max(lengths)
    assert lengths == [min(most, stretch.recording.end) for stretch in whole.stretches]
    assert sum(len(stretch.recording.firings) for stretch in cut.stretches) < 60


def test_a_window_of_too_much_says_what_would_do():
    timeline = timeline_of(run_of("toy"), what="test")
    with pytest.raises(InputError, match=r"more than 60 events; give a window of some \d+ cycles") as raised:
        within_window(timeline, 0, timeline.end, most=60)
    cycles = int(str(raised.value).split("some ")[1].split(" ")[0])
    assert 0 < cycles < timeline.end


@pytest.mark.parametrize(
    "prompt, tokens, step", [(4, 8, {"phase": "decode", "context": 11}), (24, 3, {"phase": "prefill", "prompt": 24})]
)
def test_of_many_steps_one_of_the_kind_that_takes_most_is_shown(tmp_path, prompt, tokens, step):
    report = mappers.run("toy", "toy_llm", phase="generate", prompt=prompt, tokens=tokens)
    alone = mappers.run("toy", "toy_llm", **step)
    trace, told = traced(report, tmp_path)
    begins = 0 if step["phase"] == "prefill" else report.cycles - alone.cycles
    assert told.endswith(f", of {report.step}, from cycle {begins:,} of {report.cycles:,} on")
    assert trace["otherData"]["cycles"] == alone.cycles
    assert trace["traceEvents"][1:] == traced(alone, tmp_path)[0]["traceEvents"][1:]


WRONG = {
    "a run without an origin": (lambda report: replace(report, origin=None), {}, "trace: this report came from"),
    "no window": (lambda report: report, {"window": "5"}, "trace: window: expected START..END in cycles or times"),
    "a number": (lambda report: report, {"window": 5}, "trace: window: expected START..END in cycles or times"),
    "three ends": (lambda report: report, {"window": (1, 2, 3)}, "trace: window: expected START..END"),
    "an end that is none": (lambda report: report, {"window": (1, True)}, "trace: window: expected START..END"),
    "a window beyond": (lambda report: report, {"window": "1 s.."}, "begins at cycle 1,000,000; the run ends at cycle"),
    "an end before": (lambda report: report, {"window": (9, 9)}, "ends at cycle 9, not after its start, cycle 9"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_traced(case, tmp_path):
    change, window, said = WRONG[case]
    with pytest.raises(InputError) as raised:
        change(run_of("toy")).trace(tmp_path / "trace.json", **window)
    assert said in str(raised.value)
    assert not any(tmp_path.iterdir())


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="cannot be written: is a directory"):
        run_of("toy").trace(tmp_path)
    with pytest.raises(InputError, match="trace: expected a path, got 5"):
        run_of("toy").trace(5)
