"""The page of a report: valid, whole in itself, the same each time, and with everything that the text says."""

import re
from functools import cache
from html import unescape

import html5lib
import pytest

import archsim
import mappers
from archsim.errors import InputError
from archsim.report.page.plots import PLOTS
from archsim.report.plot.parts import time_by_part
from archsim.report.plot.svg import svg_of
from archsim.report.tables import TABLES
from reports import RUNS, report_of


@cache
def page_of(name: str) -> str:
    return report_of(name).page()


def words(html: str) -> str:
    """The text that a reader sees, each run of blanks as one."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


@pytest.mark.parametrize("name", RUNS)
def test_it_is_valid_html_with_headings_captions_and_labels(name):
    page = page_of(name)
    document = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)  # raises at any error
    assert document.attrib["lang"] == "en"
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]*)', page)) <= set(ids)
    tags = [element.tag for element in document.iter() if isinstance(element.tag, str)]
    assert tags.count("h1") == 1
    assert tags.count("h2") == tags.count("section") >= 8
    tables = document.findall(".//table")
    assert len(tables) >= 6
    for table in tables:
        assert table.find("caption").text
        assert all(row.find("th").attrib["scope"] in ("col", "row") for row in table.iter("tr"))
    plots = [element for element in document.iter() if str(element.tag).endswith("svg")]
    shown = {heading for heading, _ in PLOTS if f"<h2>{heading}</h2>" in page}
    assert {heading for heading, _ in PLOTS[:3]} <= shown
    assert (PLOTS[-1][0] in shown) == (name == "on a mesh")
    assert len(plots) == len(shown)
    assert all(plot.attrib["role"] == "img" and plot.attrib["aria-label"] for plot in plots)
    assert all(each.attrib["tabindex"] == "0" and each.attrib["aria-label"]
               for each in document.iter() if each.attrib.get("class") == "scroll")  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_it_needs_nothing_else(name):
    page = page_of(name)
    assert "<script" not in page
    assert "@import" not in page
    # Names of XML namespaces are no addresses.
    addresses = [one for one in re.findall(r'https?://[^\s"<)]+', page) if not one.startswith("http://www.w3.org/")]
    assert not addresses
    assert not re.findall(r'\b(?:src|href)="(?!#|data:)', page)
    assert not re.findall(r"url\((?!#|data:)", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", RUNS)
def test_it_says_all_that_the_text_says(name):
    report, seen = report_of(name), words(page_of(name))
    for line in str(report).split("\n\n")[0].splitlines():
        assert " ".join(line.split()) in seen
    for caveat in report.caveats:
        assert caveat in seen
    for path, why in report.assumed.items():
        assert path in seen
        assert why in seen
    assert all(path in seen and point in seen for path, point in report.fitted.items())
    for lines in (str(report).split("\n\n")[-1].splitlines(), [f"archsim {archsim_version()}"]):
        assert all(" ".join(line.split()) in seen for line in lines)


def archsim_version() -> str:
    from importlib.metadata import version

    return version("archsim")


def test_assumed_and_fitted_numbers_stand_with_their_values_and_reasons():
    seen = words(page_of("tables and a fit"))
    design = report_of("tables and a fit").origin.design
    assert f"units.ddr.capacity 4 GiB {design.assumed['units.ddr.capacity']}" in seen
    path = "units.ddr.request_overhead"
    assert f"{path} 38 ns decode_throughput_64 {design.fitted[path].reason}" in seen
    selected = words(page_of("a selection"))
    assert "selection.resident 0.61 frame_20000" in selected


def rows(page: str, heading: str) -> list[list[str]]:
    (inside,) = re.findall(rf"<h2>{heading}</h2>(.*?)</section>", page, re.S)
    found = re.findall(r"<tr>(.*?)</tr>", inside, re.S)
    return [[unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)] for row in found]


@pytest.mark.parametrize("name", RUNS)
def test_tables_have_every_row_with_its_numbers(name):
    report, page = report_of(name), page_of(name)
    units = rows(page, "Units")
    assert units[0][:4] == ["name", "kind", "count", "busy cycles"]
    assert [row[:4] for row in units[1:]] == [
        [key, unit.kind, f"{unit.count:,}", f"{unit.busy_cycles:,}"] for key, unit in report.units.items()
    ]
    assert len(rows(page, "Parts")) == 1 + len(report.parts)
    traffic = rows(page, "Traffic")[1:]
    moved = sum(sum(cells.values()) for cells in (*report.traffic.values(), *report.carried.values()))
    assert sum(int(row[3].replace(",", "")) for row in traffic) == moved
    assert len(rows(page, "Ops")) == 1 + min(200, len(report.ops))
    assert set(TABLES) == {"units", "ops", "parts", "traffic"}


def test_of_many_ops_those_are_left_out_that_are_busy_least():
    report, page = report_of("tables and a fit"), page_of("tables and a fit")
    kept = {row[0] for row in rows(page, "Ops")[1:]}
    left = [op.busy_cycles for op in report.ops if op.name not in kept]
    assert max(left) <= min(op.busy_cycles for op in report.ops if op.name in kept)
    assert f"The 200 ops that are busy longest; {len(left)} more are left out." in page
    assert "are left out" not in page_of("toy")


def test_equal_reports_give_equal_bytes_whatever_the_settings_of_matplotlib():
    import matplotlib

    design, model, asked = RUNS["toy"]
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert mappers.run(design, model, **asked).page() == page_of("toy")
        assert dict(matplotlib.rcParams) == before


def test_a_plot_has_its_labels_as_text_and_its_size():
    svg = svg_of(lambda: time_by_part(report_of("toy")), name="one")
    assert re.search(r'viewBox="0 0 [1-9][\d.]* [1-9][\d.]*"', svg)
    labels = [unescape(label) for label in re.findall(r"<text[^>]*>(.*?)</text>", svg)]
    report = report_of("toy")
    assert {part for part, cycles in report.parts.items() if cycles * 1000 >= report.cycles} < set(labels)
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert [heading for heading, draw in PLOTS if draw is time_by_part]


BAD = "<b>$\\frac{$&\"'\x1b"


def test_names_do_not_act_as_html_or_as_formulas():
    from dataflow import Graph, Schedule, Section, Task, every, work

    task = Task("load", "ddr", 2, every(work("read", bytes=3)), part=BAD)
    hand = Schedule(Graph("by hand"), "toy", "by hand", (Section("one", (task,), ()),), approximated=(BAD,))
    page = archsim.simulate(hand, archsim.load_design("toy")).page()
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<b>" not in page
    assert "\x1b" not in page
    shown = BAD.replace("\x1b", "\\x1b")
    assert words(page).count(shown) >= 2


def test_save_writes_the_page(tmp_path):
    report_of("toy").save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page_of("toy")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match=r"is a directory; name a file in it"):
        report_of("toy").save(tmp_path / "folder.html")
