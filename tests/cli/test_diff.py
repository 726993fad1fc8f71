"""`diff`: of two designs the values that differ; of two runs inputs, then figures; a design is run as the other was."""

import copy
import json
import os
import random
import re
from pathlib import Path

import pytest
import yaml

from archsim.cli import DONE, UNFIT, WRONG, main
from archsim.files.data_folder import shipped
from archsim.report.difference.summary import Summary

DECODE = ["toy_llm", "--phase", "decode", "--context", "3"]
FRAME = ["toy_retrieval", "toy_video", "--phase", "frame", "--context", "20", "--selection", "resv"]


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder; gives what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, status: int = DONE):
        assert main(list(words)) == status, capsys.readouterr().err
        return capsys.readouterr()

    return run


def both(said, a: str, b: str):
    return json.loads(said("diff", a, b, "--json").out)


def figure(data, name: str):
    (found,) = [one for one in data["figures"] if one["name"] == name]
    return found["a"], found["b"]


def inputs(data) -> dict:
    return {path: (one["a"], one["b"]) for path, one in data["inputs"].items()}


def test_of_two_designs_the_values_that_differ_are_told_and_nothing_else(said):
    text = Path(shipped()["toy"]).read_text().replace("macs_per_cycle: 1", "macs_per_cycle: 2")
    Path("mine.yaml").write_text(re.sub(r"source: .*", "source: mine", text))
    told = said("diff", "toy", "mine.yaml")
    assert told.out == "source: counted by hand -> mine\nunits.mm.macs_per_cycle: 1 -> 2\n"
    assert told.err == ""
    assert said("diff", "mine.yaml", "toy").out.endswith("units.mm.macs_per_cycle: 2 -> 1\n")
    assert inputs(both(said, "toy", "mine.yaml"))["units.mm.macs_per_cycle"] == (1, 2)


@pytest.mark.parametrize("name", shipped())
def test_a_design_does_not_differ_from_itself(name, said):
    told = said("diff", name, name)
    assert (told.out, told.err) == ("", f"no value of {name} and {name} differs\n")


def test_a_variant_is_compared_with_its_original_in_two_commands(said):
    said("simulate", "toy", *DECODE, "--set", "units.mm.macs_per_cycle=4", "--output", "wide")
    original = json.loads(said("simulate", "toy", *DECODE, "--json").out)
    variant = json.loads(Path("wide/summary.json").read_text())
    told = said("diff", "toy", "wide")
    assert told.err == "simulating toy as wide was\n"
    assert "inputs that differ\n  design.units.mm.macs_per_cycle: 1 -> 4\n\nresults" in told.out
    data = both(said, "toy", "wide")
    assert inputs(data) == {"design.units.mm.macs_per_cycle": (1, 4)}
    assert figure(data, "time") == (original["seconds"], variant["seconds"])
    assert figure(data, "mm") == tuple(run["units"]["mm"]["utilization"] for run in (original, variant))
    assert not [one for one in data["figures"] if one["group"] == "bytes"], "the same bytes move"


def test_each_ratio_and_difference_is_that_of_the_two_values(said):
    said("simulate", "toy", *DECODE, "--output", "a")
    said("simulate", "toy", *DECODE[:-1], "5", "--set", "clock=2 MHz", "--output", "b")
    data = both(said, "a", "b")
    assert data["unchanged"] > 0
    for one in data["figures"]:
        if isinstance(one["a"], int | float) and isinstance(one["b"], int | float):
            assert one["difference"] == one["b"] - one["a"] != 0
            assert one["ratio"] in (None, one["b"] / one["a"])
    backward = both(said, "b", "a")
    assert [(one["name"], one["b"], one["a"]) for one in backward["figures"]] == [
        (one["name"], one["a"], one["b"]) for one in data["figures"]
    ]


def test_in_each_group_the_largest_change_comes_first(said):
    said("simulate", "tellme_kv260", "bitnet_b158_large", "--phase", "decode", "--context", "16", "--output", "a")
    said("simulate", "tellme_kv260", "bitnet_b158_large", "--phase", "prefill", "--prompt", "4", "--output", "b")
    groups: dict[str, list[dict]] = {}
    for one in both(said, "a", "b")["figures"]:
        groups.setdefault(one["group"], []).append(one)
    assert list(groups) == ["results", "where the time goes", "share of the time busy", "bytes"]
    for name, members in groups.items():
        factors = [max(one["ratio"], 1 / one["ratio"]) for one in members if one["ratio"] and name == "results"]
        amounts = [abs((one["b"] or 0) - (one["a"] or 0)) for one in members if name != "results"]
        assert factors == sorted(factors, reverse=True)
        assert amounts == sorted(amounts, reverse=True)


def test_two_runs_that_are_equal_say_so(said):
    said("simulate", "toy", *DECODE, "--output", "a")
    Path("b.json").write_text(said("simulate", "toy", *DECODE, "--json").out)
    for other in ("a", "b.json", "toy"):
        told = said("diff", "a", other).out
        assert "no input differs\n" in told
        assert re.search(r"no figure differs, of \d\d", told)


@pytest.mark.parametrize(
    "changed, told",
    [
        (["--engine", "simpy"], {"engine": ("compiled", "simpy")}),
        (["--batch", "2"], {"fields.batch": (1, 2)}),
        (["--set", "mapping.buffers=2"], {"mapping": ("the design's own", "the design's own (buffers=2)")}),
        (["--set", "units.ddr.bandwidth=2 B/cycle"], {"set.units.ddr.bandwidth": (None, "2 B/cycle")}),
    ],
)
def test_an_input_that_differs_is_told(changed, told, said):
    compiled = ["--engine", "compiled"]
    for name, words in (("a", compiled), ("b", changed if "--engine" in changed else [*compiled, *changed])):
        Path(f"{name}.json").write_text(said("simulate", "toy", *DECODE, *words, "--json").out)
    assert inputs(both(said, "a.json", "b.json")) == told


def test_models_phases_and_selections_that_differ_are_told(said):
    said("simulate", *FRAME, "--output", "a")
    said("simulate", *FRAME, "--set", "selection.resident=0.25", "--output", "b")
    changed = inputs(both(said, "a", "b"))
    assert changed == {"selection.resident": (0.61, 0.25)}
    said("simulate", *FRAME[:-1], "full", "--output", "c")
    assert inputs(both(said, "a", "c"))["selection.name"] == ("resv", "full")
    assert "hash" not in str(changed)
    text = Path(shipped("models")["toy_video"]).read_text()
    Path("toy_video.yaml").write_text(text.replace("layers: 2", "layers: 3", 1))
    said("simulate", FRAME[0], "./toy_video.yaml", *FRAME[2:], "--output", "d")
    assert list(inputs(both(said, "a", "d"))) == ["contents.model"]


def test_a_design_is_run_with_the_selection_and_mapping_of_the_other(said):
    changes = ["selection.resident=0.25", "mapping.buffers=3", "units.pcie.latency_cycles=9"]
    words = [*FRAME, *(word for change in changes for word in ("--set", change))]
    said("simulate", *words, "--output", "a")
    assert inputs(both(said, "toy_retrieval", "a")) == {"design.units.pcie.latency_cycles": (None, 9)}, "as written"
    Path("a.json").write_text(said("simulate", *words, "--json").out)
    assert list(inputs(both(said, "toy_retrieval", "a.json"))) == ["set.units.pcie.latency_cycles"]


def test_a_graph_in_the_place_of_a_model_is_run_again(said):
    said("simulate", "systolic_array", "gemm:8x8x8", "--set", "units.array.rows=8", "--output", "a")
    data = both(said, "systolic_array", "a")
    assert inputs(data) == {"design.units.array.rows": (32, 8)}


def test_a_generation_tells_its_two_times(said):
    words = ["toy_llm", "--phase", "generate", "--prompt", "2", "--tokens", "3"]
    said("simulate", "toy", *words, "--set", "units.mm.macs_per_cycle=2", "--output", "a")
    names = {one["name"] for one in both(said, "toy", "a")["figures"]}
    assert {"first token", "each token then", "tokens then"} <= names


def test_a_design_that_cannot_run_so_has_the_status_of_simulate(said):
    said("simulate", "tellme_kv260", "bitnet_b158_large", "--phase", "decode", "--context", "4", "--output", "a")
    assert "'ddr' is to hold" in said("diff", "toy", "a", status=UNFIT).err


def test_a_folder_of_a_shipped_name_is_no_silent_choice(said):
    said("simulate", "toy", *DECODE, "--output", "toy")
    assert said("diff", "toy", "tellme_kv260").err == "toy: the shipped design; ./toy is what lies here\n"
    assert "no input differs" in said("diff", "toy", "./toy").out


def test_a_design_in_json_is_a_design(said):
    Path("toy.json").write_text(json.dumps({"name": "x", "clock": "1 MHz"}))
    assert "toy.json" in said("diff", "toy", "toy.json", status=WRONG).err
    said("simulate", "toy", *DECODE, "--output", "a")
    Path("toy.json").write_text(json.dumps(yaml.safe_load(Path("a/design.yaml").read_text())))
    assert said("diff", "toy", "toy.json").out == ""


def test_json_may_come_from_a_pipe(said):
    text = said("simulate", "toy", *DECODE, "--json").out
    said("simulate", "toy", *DECODE, "--output", "a")
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe:
        pipe.write(text[: 2**15] if len(text) > 2**16 else text)
    assert "no figure differs" in said("diff", f"/dev/fd/{read}", "a").out
    os.close(read)


def test_a_run_that_does_not_say_what_was_asked_is_compared_but_not_repeated(said):
    said("simulate", "toy", *DECODE, "--output", "a")
    data = json.loads(said("simulate", "toy", *DECODE, "--json").out)
    Path("b.json").write_text(json.dumps({key: value for key, value in data.items() if key != "asked"}))
    assert "no input differs" in said("diff", "a", "b.json").out
    assert said("diff", "toy", "b.json", status=WRONG).err == (
        "b.json: does not say how it was asked for; run it again by `archsim simulate`, or give two runs\n"
    )
    Path("c.json").write_text(json.dumps({**data, "asked": {**data["asked"], "engine": 3, "fields": {"context": []}}}))
    err = said("diff", "toy", "c.json", status=WRONG).err
    assert err == "c.json: asked: cannot be read: fields.context, engine; run it again\n"


def test_what_a_file_added_is_asked_for_again(said):
    here = Path(__file__).parents[1] / "extensions"
    words = [f"{here}/capped.yaml", "toy_llm", "--phase", "verify", "--context", "8", "--drafts", "4"]
    files = [word for name in ("phase", "mapper", "row_wise_op") for word in ("--with", f"{here}/{name}.py")]
    from mappers.extend import restore, snapshot

    saved = snapshot()
    try:
        said("simulate", *words, *files, "--output", "a")
        assert "no figure differs" in said("diff", words[0], "a", *files).out
    finally:
        restore(saved)
    err = said("diff", words[0], "a", status=WRONG).err
    assert err.startswith("a: was run with --with ")
    assert err.endswith("as that file was then; give it here too\n")


def test_a_mutated_report_never_gives_a_traceback(said):
    rng = random.Random(20260101)
    said("simulate", *FRAME, "--output", "a")
    data = json.loads(Path("a/summary.json").read_text())
    data = {key: data[key] for key in Summary.model_fields if key in data}
    wrong = [None, True, -1, 0, 1.5, 10**400, 10**29, 1e-320, "", "x", "\x1b", [], {}, [1], {"a": 1}, {"assumed": 3}]
    refused = 0
    for _ in range(150):
        mutated = copy.deepcopy(data)
        holder, key = rng.choice(list(walk(mutated)))
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = rng.choice(wrong)
        Path("b.json").write_text(json.dumps(mutated))
        status = main(["diff", "a", "b.json", *["--json"] * rng.randrange(2)])
        assert status in (DONE, WRONG)
        refused += status == WRONG
    assert 20 < refused < 150


def walk(data):
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list) and data[key]:
            yield from walk(data[key])
