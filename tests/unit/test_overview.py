"""What objects say of themselves: short in a prompt, the facts as written in a notebook, nothing that acts as HTML."""

import doctest
import re
from html import unescape

import pytest

import archsim
import archsim.files.overview
import dataflow
import dataflow.overview
import mappers
from archsim.files.provenance import SET
from archsim.files.shipped import shipped
from archsim.report.rows.row import Row, figures_of
from dataflow import Graph
from dataflow.overview import Overview

LOADS = {
    "": archsim.load_design, "models": archsim.load_model, "selections": archsim.load_selection,
    "mappings": mappers.load_mapping,
}  # fmt: skip
SHIPPED = [(folder, name) for folder in LOADS for name in shipped(folder)]


@pytest.fixture(scope="module")
def objects() -> dict:
    model, design = archsim.load_model("bitnet_b158_large"), archsim.load_design("tellme_kv260")
    graph = dataflow.decode(model, context=128)
    report = mappers.run("toy", "toy_llm", phase="decode", context=4)
    return {
        "design": design, "model": model, "graph": graph, "schedule": mappers.lower(graph, design),
        "mapping": mappers.load_mapping("gemm_4096"), "selection": archsim.load_selection("resv"), "report": report,
        "row": Row({"context": 4}, figures_of(report), report.caveats),
    }  # fmt: skip


def cells(html: str) -> list[list[str]]:
    rows = re.findall("<tr>(.*?)</tr>", html)
    return [[unescape(cell) for cell in re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]


def leaves(value):
    """Every text and number of a YAML value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inside is None:
        yield value
        return
    for one in inside:
        yield from leaves(one)


def test_a_prompt_shows_each_in_a_line(objects):
    for one in objects.values():
        assert re.fullmatch(r"<\w+ .{1,150}>", repr(one)), repr(one)
    assert repr(objects["design"]) == "<Design tellme_kv260: 14 units at 250 MHz>"
    assert repr(objects["model"]) == "<Model bitnet_b158_large: 24 layers, hidden 1536, 728,632,320 parameters>"
    assert repr(objects["row"]) == "<Row context=4: done>"


def test_printing_shows_some_lines(objects):
    for name in ("design", "model", "graph", "schedule", "row", "report"):
        lines = str(objects[name]).splitlines()
        assert 5 < len(lines) < 60
        assert objects[name]._repr_html_().startswith("<p>")
    # These two are names in reports and tables.
    assert str(objects["mapping"]) == "gemm 4096 x 4096 x 4096 on systolic_two_level"
    assert str(objects["selection"]) == "resv"


@pytest.mark.parametrize(("folder", "name"), SHIPPED, ids=[f"{folder}/{name}" for folder, name in SHIPPED])
def test_every_shipped_file_shows_its_numbers_as_written(folder, name):
    read = LOADS[folder](name)
    text, html = read.overview().text(), read._repr_html_()
    assert "\n" not in repr(read)
    assert "Fraction" not in text + html
    if folder == "models":
        assert all(why in text for why in read.assumed.values())
        return
    table = {row[0]: " ".join(row[1:]) for row in cells(html)[1:]}
    said = read.document.data
    for entry, value in (said.get(read.rows[0]) or {}).items():
        for leaf in leaves(value):
            told = "nothing" if leaf is None else str(leaf).lower() if isinstance(leaf, bool) else str(leaf)
            assert told in table[entry]
    for told in read.simplified():
        assert told in text
        assert told in unescape(html)
    assumed = [why for why in read.assumptions().values() if why != SET]
    assert (f"assumed     {len(assumed)} number" in text) == bool(assumed)
    assert all(path in text and point in text for path, point in read.fits().items())


def test_a_variant_shows_what_was_set(objects):
    variant = objects["design"].with_({"units.tlmm.num_tables": 42})
    assert "set         units.tlmm.num_tables=42" in str(variant).splitlines()
    assert any(row[0] == "tlmm" and "num_tables 42" in row[2] for row in cells(variant._repr_html_()))
    assert all(f"simplified  {told}" in str(variant) for told in variant.not_derived())
    assert variant.not_derived()


def test_a_graph_counts_its_work_by_kind(objects):
    graph = objects["graph"]
    heads, *kinds, last = cells(graph._repr_html_())
    total = graph.counts()
    assert heads == ["kind", "ops", *total]
    numbers = [[int(cell.replace(",", "")) for cell in row[1:]] for row in kinds]
    assert [sum(column) for column in zip(*numbers, strict=True)] == [len(graph.ops), *total.values()]
    assert [int(cell.replace(",", "")) for cell in last[1:]] == [len(graph.ops), *total.values()]
    assert "inputs      ids [1] int32" in str(graph)
    assert str(Graph("empty")).splitlines()[1] == "0 ops, 0 tensors"


def test_a_schedule_says_what_it_simplifies_and_adds_up(objects):
    schedule = objects["schedule"]
    rows = cells(schedule._repr_html_())[1:]
    numbers = [[int(cell.replace(",", "")) for cell in row[1:]] for row in rows]
    assert sum(repeat * firings for repeat, _, firings, _ in numbers) == schedule.firings
    assert schedule.approximated
    for told in schedule.approximated:
        assert told in str(schedule)
        assert told in unescape(schedule._repr_html_())


def test_a_mapping_has_op_unit_tile_and_order():
    chosen = mappers.plan(archsim.load_workload("gemm:64x64x64"), archsim.load_design("systolic_two_level"))
    heads, row = cells(chosen._repr_html_())
    assert heads[:4] == ["op", "unit", "tile", "order"]
    assert row[:4] == ["gemm", "array", "batch: 1, m: 32, k: 64, n: 32", "batch, k, m, n"]


def test_a_row_says_which_figures_it_is_without(objects):
    row = objects["row"]
    shown = {cell[0]: cell[1] for cell in cells(row._repr_html_())[1:]}
    assert shown["context"] == "4"
    assert shown["cycles"] == f"{row['cycles']:,} cycles"
    assert {name for name, value in row.figures.items() if value is not None} == shown.keys() - {"context"}
    assert "energy_joules" in next(line for line in str(row).splitlines() if line.startswith("without"))
    assert all(caveat in unescape(row._repr_html_()) for caveat in row.caveats)


def test_a_row_without_figures_says_its_problem():
    row = Row({"context": 4}, status="refused", problem="context: too long")
    assert str(row).splitlines()[:2] == ["row, refused", "context: too long"]


BAD = '<script>alert("x")</script>&'


def test_nothing_that_a_user_names_acts_as_html():
    toy = archsim.load_design("toy")
    design = toy.with_({"name": BAD, "units": {BAD: {"kind": "memory", "capacity": "1 KiB", "bandwidth": "1 B/cycle"}}})
    graph = Graph(BAD, approximated=(BAD,))
    row = Row({BAD: BAD}, {"bottleneck": BAD}, (BAD,), "refused", BAD)
    for one in (design, graph, row, archsim.load_model("toy_llm").model_copy(update={"name": BAD})):
        html = one._repr_html_()
        assert "<script" not in html
        assert BAD in unescape(html)
    assert "\x1b" not in Overview(("\x1b[2J",)).html() + Overview(("\x1b[2J",)).text()


def test_long_tables_say_how_much_is_left_out():
    rows = tuple((str(i),) for i in range(100))
    cut = Overview(("head",), ("n",), rows, ("foot",), (True,)).first(7)
    assert (len(cut.cells), cut.foot) == (7, ("and 93 more rows", "foot"))
    whole = Overview(("head",), ("n",), rows[:7])
    assert whole.first(7) is whole


@pytest.mark.parametrize("module", [dataflow.overview, archsim.files.overview])
def test_examples(module):
    assert doctest.testmod(module).failed == 0
