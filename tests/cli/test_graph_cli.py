"""A graph in the place of a model: gemm:MxNxK and SCALE-Sim's files, on the command line and in sweeps."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

import archsim
import dataflow
import mappers
from archsim import InputError
from archsim.cli import DONE, UNFIT, WRONG, main

DATA = Path(__file__).parent.parent / "data"
GEMM = ["simulate", "systolic_array", "gemm:128x64x256"]
FILES = ["simulate", str(DATA / "scale.cfg"), str(DATA / "alexnet.csv")]
CYCLES = 4 * 2 * (256 + 32 + 32 - 2)


def said(capsys, *arguments, status=DONE):
    assert main([*arguments]) == status
    return capsys.readouterr()


def test_a_product_runs_without_a_phase(capsys):
    text = said(capsys, *GEMM).out
    assert text.startswith("systolic_array · gemm 128 x 64 x 256 · graph\n")
    assert f"{CYCLES:,} cycles" in text
    data = json.loads(said(capsys, *GEMM, "--json").out)
    assert (data["cycles"], data["phase"], data["model"]) == (CYCLES, "graph", "gemm 128 x 64 x 256")


@pytest.mark.parametrize("engine", ["auto", "simpy", "compiled"])
@pytest.mark.parametrize("command", [GEMM, FILES], ids=["gemm", "files"])
def test_every_option_of_a_run_is_taken(command, engine, capsys):
    more = ["--set", "units.array.columns=16", "--mapper", "tiled", "--set", "mapping.buffers=1"]
    plain = json.loads(said(capsys, *command, "--json", "--engine", engine).out)
    narrow = json.loads(said(capsys, *command, "--json", "--engine", engine, *more).out)
    assert narrow["cycles"] > plain["cycles"]
    assert str(narrow["options"]["mapping"]).endswith("(buffers=1)")


def test_the_files_of_scale_sim_run_as_they_are(capsys):
    data = json.loads(said(capsys, *FILES, "--json").out)
    assert (data["design"], data["model"], data["cycles"]) == ("array_32x32_os", "alexnet", 3_019_509)
    assert [op["name"] for op in data["ops"]] == [f"Conv{i}" for i in range(1, 6)] + ["FC6", "FC7", "FC8"]
    assert set(data["assumed"]) == {"clock"}
    assert any("not modelled: IfmapSramSzkB 64" in told for told in data["coverage"]["approximated"])


@pytest.mark.parametrize(
    "command", [GEMM, FILES, [*GEMM[:2], FILES[2]], [*FILES[:2], GEMM[2]]], ids=["gemm", "files", "csv", "cfg"]
)
def test_the_manifest_hashes_design_and_graph(command, tmp_path, capsys):
    hashes = []
    for folder, other in (("a", command), ("b", command), ("c", [*command[:2], "gemm:128x64x257"])):
        said(capsys, *other, "--output", str(tmp_path / folder))
        inputs = json.loads((tmp_path / folder / "manifest.json").read_text())["inputs"]
        assert inputs["design"]["given"] == command[1]
        assert inputs["model"]["given"] == other[2]
        hashes.append(inputs["model"]["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]
    for name in ("summary.json", "ops.csv", "design.yaml", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_written_design_gives_the_same_report(tmp_path, capsys):
    said(capsys, *FILES, "--output", str(tmp_path / "run"))
    again = json.loads(said(capsys, "simulate", str(tmp_path / "run" / "design.yaml"), FILES[2], "--json").out)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {key: again[key] for key in summary} == summary


def test_the_hint_of_the_report_can_be_run(capsys):
    hint = f"archsim check {FILES[1]}"
    assert f"`{hint}` lists them" in said(capsys, *FILES).out
    told = said(capsys, *hint.split()[1:], FILES[2]).out
    assert "assumed clock: the file gives no clock" in told
    assert "graph 'alexnet', 8 ops, 1,135,256,096 multiply-adds" in told


def test_fifos_of_a_graph_are_sized(capsys):
    data = json.loads(said(capsys, "size-fifos", *GEMM[1:], "--json").out)
    assert (data["cycles"], data["phase"]) == (CYCLES, "graph")
    assert "memory is ideal" in said(capsys, "size-fifos", *FILES[1:]).out


@pytest.mark.parametrize("command", ["simulate", "size-fifos"])
@pytest.mark.parametrize("given", [["--phase", "decode"], ["--context", "3"], ["--batch", "1"], ["--mask", "full"]])
@pytest.mark.parametrize("graph", [GEMM[2], FILES[2]], ids=["gemm", "csv"])
def test_a_graph_takes_no_phase_and_nothing_of_one(command, given, graph, capsys):
    error = said(capsys, command, "systolic_array", graph, *given, status=WRONG).err
    assert error == f"{graph}: a graph is no model and takes no phase; leave out {given[0]}\n"


@pytest.mark.parametrize("command", ["simulate", "size-fifos"])
def test_a_model_needs_a_phase(command, capsys):
    assert said(capsys, command, "toy", "toy_llm", status=WRONG).err == "Missing option '--phase'.\n"
    assert said(capsys, command, str(DATA / "scale.cfg"), "toy_llm", status=WRONG).err == "Missing option '--phase'.\n"


def test_a_model_that_the_array_cannot_run_is_told_of(capsys):
    error = said(capsys, *FILES[:2], "toy_llm", "--phase", "decode", "--context", "3", status=UNFIT).err
    assert "no unit of 'array_32x32_os' does 'embedding'" in error


@pytest.mark.parametrize("text", ["gemm:", "gemm:8", "gemm:8x8x8x8", "gemm:8x8x-8", "gemm:8 x8x8", "gemm:٣x3x3",
                                  "gemm:8X8X8", "gemm:8x8x8.0", "gemm:8x8x2147483649", "gemm:1_0x8x8"])  # fmt: skip
def test_bad_text_is_refused_with_what_is_expected(text, capsys):
    error = said(capsys, "simulate", "systolic_array", text, status=WRONG).err
    assert error.startswith(f"{text!r}: expected gemm:MxNxK with M rows, N columns and K summed over, ")
    with pytest.raises(InputError):
        mappers.run("systolic_array", text)


def test_python_takes_a_graph_by_its_text_or_as_such():
    graph = dataflow.gemm(m=128, n=64, k=256)
    assert mappers.run("systolic_array", GEMM[2]) == mappers.run("systolic_array", graph)
    model = archsim.load_model("toy_llm")
    step = dataflow.decode(model, context=3)
    assert mappers.run("toy", step).cycles == mappers.run("toy", model, phase="decode", context=3).cycles


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: mappers.run("systolic_array", "gemm:1x1x1", phase="decode", context=3), "leave out phase, context"),
        (lambda: mappers.run("systolic_array", dataflow.gemm(m=1, n=1, k=1), rows=3), "takes no phase; leave out rows"),
        (lambda: mappers.run("toy", "toy_llm"), "phase: a model needs one; phases are: prefill"),
        (lambda: mappers.run("toy", dataflow.Graph("none")), "graph 'none': has no op; add one"),
        (lambda: mappers.sweep("toy", "toy_llm", over={"context": [3]}), "phase: a model needs one"),
        (lambda: mappers.sweep("systolic_array", "gemm:1x1x1", over={"context": [3]}), "leave out context"),
        (lambda: mappers.sweep("systolic_array", "gemm:1x1x1", over={}, batch=2), "leave out batch"),
        (lambda: mappers.sweep("systolic_array", "gemm:1x1", over={}), "expected gemm:MxNxK"),
    ],
)
def test_what_python_refuses(call, told):
    with pytest.raises(InputError) as refused:
        call()
    assert told in str(refused.value)


@pytest.mark.parametrize("jobs", [1, 2])
def test_sweeps_take_graphs(jobs):
    over = {"units.array.rows": [8, 32], "units.array.dataflow": ["weight_stationary", "output_stationary"]}
    rows = mappers.sweep(FILES[1], FILES[2], over=over, jobs=jobs)
    assert [row.problem for row in rows] == [None] * 4
    assert rows[-1]["cycles"] == 3_019_509
    assert all("memory is ideal" in row.as_dict()["caveats"] for row in rows)


def test_files_are_checked_without_heavy_libraries():
    code = (
        "import sys; from archsim.cli import main; status = main(sys.argv[1:]); heavy = {'torch', 'matplotlib', "
        "'numba', 'simpy'} & set(sys.modules); sys.exit(str(heavy) if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code, "check", *FILES[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


MUTATIONS = 150


@pytest.mark.parametrize("name", ["scale.cfg", "alexnet.csv", "gemms.csv"])
def test_a_mutated_file_never_gives_a_traceback(name, tmp_path, capsys):
    draw, text = random.Random(7), (DATA / name).read_text()
    path = tmp_path / name
    for _ in range(MUTATIONS):
        changed = list(text)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(changed))
            changed[at] = draw.choice(["", ",", "\n", "0", "-", "[", "]", ":", "=", "é", "\t", "\x00", "9" * 30, "٣"])
        path.write_text("".join(changed))
        status = main(["check", str(path)])
        error = capsys.readouterr().err
        assert status in (DONE, WRONG), error
        assert all(line.startswith(str(path)) for line in error.splitlines()), error
