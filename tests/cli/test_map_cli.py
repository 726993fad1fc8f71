"""archsim map, --mapping and --set mapping.PATH: files that are printed, edited and given back."""

import json
from pathlib import Path

import pytest
import yaml

from archsim.cli import DONE, WRONG, main

GEMM = ["systolic_two_level", "gemm:512x512x512"]


def said(capsys, *arguments, status=DONE):
    assert main([*arguments]) == status
    return capsys.readouterr()


@pytest.fixture
def printed(tmp_path, capsys):
    """The path of a file that `map` printed."""
    path = tmp_path / "mapping.yaml"
    path.write_text(said(capsys, "map", *GEMM).out)
    return path


def cycles(capsys, *arguments):
    return json.loads(said(capsys, "simulate", *GEMM, "--json", *arguments).out)["cycles"]


def test_stdout_is_a_mapping_file_and_nothing_else(capsys, printed):
    out, err = said(capsys, "map", *GEMM)
    assert err == ""
    assert out == printed.read_text()
    comments = [line for line in out.splitlines() if line.startswith("#")]
    assert out.splitlines()[: len(comments)] == comments
    assert set(yaml.safe_load(out)) == {"name", "version", "source", "order", "buffers", "ahead", "ops", "room"}
    assert "mapping 'gemm 512 x 512 x 512 on systolic_two_level', 1 ops" in said(capsys, "check", str(printed)).out


def test_the_comments_are_the_loops(capsys):
    changes = ("tile.m=32", "tile.n=256", "tile.k=200", "order=[batch, n, k, m]")
    words = [word for change in changes for word in ("--set", f"mapping.ops.gemm.{change}")]
    out = said(capsys, "map", *GEMM, *words).out
    # By hand: 16 x 2 x 3 tiles; sums of a tile of 32 x 256 x 2 B leave and come back while k turns outside m.
    assert out.splitlines()[1:10] == [
        "#   for n in 2 x 256",
        "#     for k in 3 x 200, the last one 112",
        "#       load weight gemm.w, dram > sram: 6 tiles of 102,400 B, once, 524,288 B in all",
        "#       for m in 16 x 32",
        "#         load input gemm.x, dram > sram: 48 tiles of 12,800 B, 2 times each, 1,048,576 B in all",
        "#         load sums of gemm, dram > sram: 32 tiles of 16,384 B, 2 times each, 1,048,576 B in all",
        "#         matmul of batch 1, m 32, k 200, n 256",
        "#         store activation gemm, sram > dram: 32 tiles of 16,384 B, 3 times each, 1,572,864 B in all",
        "name: gemm 512 x 512 x 512 on systolic_two_level",
    ]
    # As many bytes as the memories move.
    moved = 2 * (524_288 + 2 * 1_048_576 + 1_572_864)
    assert out.splitlines()[0].endswith(f" cycles, {moved:,} B over all hops")


def test_what_map_prints_is_simulated_alike(capsys, printed):
    assert cycles(capsys, "--mapping", str(printed)) == cycles(capsys)
    assert said(capsys, "map", *GEMM, "--mapping", str(printed)).out == printed.read_text()


def test_set_edits_the_mapping_that_is_given_or_chosen(capsys, printed):
    edit = ["--set", "mapping.ops.gemm.tile.m=8"]
    # Of the mapping that is given all else stays; of the design's own the rest is chosen.
    assert cycles(capsys, "--mapping", str(printed), *edit) >= cycles(capsys, *edit) > cycles(capsys)
    text = said(capsys, "simulate", *GEMM, *edit).out
    assert "options     mapping=gemm 512 x 512 x 512 on systolic_two_level (ops.gemm.tile.m=8)\n" in text
    assert "ops.gemm.tile.m: set in this variant" in said(capsys, "map", *GEMM, *edit).out


def test_a_change_of_the_design_comes_before_the_plan(capsys):
    smaller = ["--set", "units.sram.capacity=64 KiB"]
    assert said(capsys, "map", *GEMM, *smaller).out != said(capsys, "map", *GEMM).out
    assert cycles(capsys, *smaller, "--set", "mapping.ops.gemm.buffers=1") > 0


def test_the_folder_of_a_run_has_the_mapping_and_its_hash(capsys, printed, tmp_path):
    said(capsys, "simulate", *GEMM, "--mapping", str(printed), "--output", str(tmp_path / "a"))
    said(capsys, "simulate", *GEMM, "--output", str(tmp_path / "b"))
    said(capsys, "simulate", *GEMM, "--set", "mapping.ops.gemm.buffers=1", "--output", str(tmp_path / "c"))
    a, b, c = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in "abc")
    assert a["inputs"]["mapping"]["given"] == str(printed)
    assert a["inputs"]["mapping"]["sha256"] == b["inputs"]["mapping"]["sha256"] != c["inputs"]["mapping"]["sha256"]
    assert a["outputs"]["summary.json"] == b["outputs"]["summary.json"]
    for name in "abc":
        again = cycles(capsys, "--mapping", str(tmp_path / name / "mapping.yaml"))
        assert again == json.loads((tmp_path / name / "summary.json").read_text())["cycles"]


def test_fifos_are_sized_for_a_mapping(capsys):
    small = ["size-fifos", "systolic_two_level", "gemm:64x64x64"]
    plain, edited = said(capsys, *small).out, said(capsys, *small, "--set", "mapping.ops.gemm.tile.m=16").out
    assert "(ops.gemm.tile.m=16)" in edited
    assert plain != edited


def test_lists_and_schema_know_mappings(capsys):
    assert "gemm_4096" in said(capsys, "list", "mappings").out
    assert "gemm_4096" not in said(capsys, "list", "designs").out
    assert "room" in said(capsys, "schema", "mapping").out
    assert "order" in said(capsys, "schema", "mapping.ops").out
    shipped = said(capsys, "map", "systolic_two_level", "gemm:4096x4096x4096", "--mapping", "gemm_4096").out
    assert shipped == said(capsys, "map", "systolic_two_level", "gemm:4096x4096x4096").out
    # The README shows its loops.
    loops = "".join(f"{line}\n" for line in shipped.splitlines() if line.startswith("#"))
    assert f"```\n{loops}```" in (Path(__file__).parents[2] / "README.md").read_text()


def test_a_mapper_without_loops_is_refused_on_one_line(capsys):
    asked = ("tellme_kv260", "bitnet_b158_large", "--phase", "decode", "--context", "3")
    err = said(capsys, "map", *asked, status=WRONG).err
    assert err == "mapper 'table_lookup' takes no mapping; mappers that take one: retrieval, spatial, tiled\n"
