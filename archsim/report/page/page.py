"""The page of a report: what its text says, its plots and tables, and where every number comes from."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from archsim.explain.explanation import Explanation
from archsim.explain.tables import tables
from archsim.explain.text import head_lines as explained
from archsim.files.overview import written
from archsim.files.provenance import Sourced
from archsim.files.whole import Kind
from archsim.quantity import show
from archsim.report.figures import Figures
from archsim.report.folder import PACKAGES
from archsim.report.page.html import lines, paragraph, section, table, text
from archsim.report.page.plots import plot_of, plots
from archsim.report.placed_text import placed_lines
from archsim.report.plot.why import sensitivity
from archsim.report.tables import TABLES, TEXTS, rows_of
from archsim.report.text import head_lines, limits, longest_wait, tiling_lines
from archsim.run.capacity import NOWHERE
from archsim.version import __version__
from dataflow.overview import escaped
from dataflow.task import UNLIMITED

MOST_OPS = 200
GENERATOR = '<meta name="generator" content="archsim '
FIRST = 1000  # characters of a page, which hold that line
# What a page may load: nothing but what stands in it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
WAITS = "waits most for"
CAPTIONS = {
    "units": "Cycles of each unit",
    "ops": "When each op ran",
    "parts": "Time by kind of work",
    "traffic": "Bytes moved",
}
MEANINGS = {
    "units": "Cycles of all servers of a unit; of several, busiest are those of the busiest one. Starved: it waits for "
    "input. Blocked: it waits for room for its output. Idle: it has no work in the section that runs.",
    "ops": "First start, last end and busy cycles.",
    "parts": "Waits for input are included; kinds of work that overlap share the time equally.",
    "traffic": "What memories read and write, and channels move, by what it is of.",
}


def page(report: Figures, why: Explanation | None = None) -> str:
    """The whole page, with what explains the report where that is given; equal reports give equal text."""
    title, *facts = head_lines(report)
    body = [
        section("Summary", lines(facts, caption="The run in short")),
        *(_why(why) if why else ()),
        *plots(report),
        *(section(name.capitalize(), _table(report, name)) for name in ("units", "parts", "traffic")),
        section("Held in memories", _held(report)),
        section("What this report leaves out", lines(limits(report), caption="Coverage and simplifications")),
        section("Assumed and set", _assumed(report)),
        section("Fitted", _fitted(report)),
        section("Tiles", text(tiling_lines(report), label="How ops were cut")),
        section("Laid out in space", text(placed_lines(report), label="Sections, their stages and tiles")),
        section("Ops", *_ops(report)),
        section("Versions", _versions()),
    ]
    heading = f"<h1>{escaped(title)}</h1>"
    return "\n".join([*_head(title), heading, *filter(None, body), "</main>", "</body>", "</html>", ""])


def _why(found: Explanation) -> Iterator[str]:
    """What binds the run, what changes would bring as a plot and a table, then why it takes its time."""
    _, _, binding = explained(found)
    told = lines([binding], caption="What binds the run")
    first, *others = (table(of.caption, of.names, of.rows, numbers=of.numbers) for of in tables(found))
    yield section("What to change", told, plot_of(sensitivity, found), first, *others[:1])
    yield section("Why it takes that long", *others[1:])


def _is_page(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return GENERATOR in file.read(FIRST)


PAGE = Kind("page", _is_page)


def _head(title: str) -> Iterator[str]:
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'{GENERATOR}{__version__}">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>"


def _table(report: Figures, name: str, keep: int | None = None) -> str:
    rows = rows_of(report, name)
    if keep is not None:  # those that are busy longest, in their order
        places = sorted(range(len(rows)), key=lambda place: (-rows[place]["busy_cycles"], place))[:keep]
        rows = [rows[place] for place in sorted(places)]
    left_out = {*_says_nothing(rows)}
    columns = [column for column in TABLES[name].columns if column not in left_out]
    cells = [[_shown(column, row[column]) for column in columns] for row in rows]
    names = [column.replace("_", " ") for column in columns]
    numbers = [name for name, column in zip(names, columns, strict=True) if column not in TEXTS]
    if name == "units":
        names.append(WAITS)
        cells = [[*of, longest_wait(report.units[row["name"]])] for of, row in zip(cells, rows, strict=True)]
    return paragraph(MEANINGS[name]) + table(CAPTIONS[name], names, cells, numbers=numbers, kind=name)


def _says_nothing(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Columns of units that the page leaves out: energy of none, and the busiest server where each has but one."""
    if not any(row.get("energy_joules") for row in rows):
        yield "energy_joules"
    if all(row.get("busiest_cycles") == row["busy_cycles"] for row in rows if "busy_cycles" in row):
        yield "busiest_cycles"


def _shown(column: str, value: Any) -> str:
    """A cell as a reader sees it."""
    if value is None:
        return "not modelled"
    if column in ("share", "utilization"):
        return f"{value:.1%}"
    dimension = {"seconds": "time", "energy_joules": "energy"}.get(column)
    if dimension:
        return show(Fraction(value), dimension)
    return value if isinstance(value, str) else f"{value:,.0f}"


def _ops(report: Figures) -> Iterator[str]:
    left = len(report.ops) - MOST_OPS
    if left > 0:
        told = f"The {MOST_OPS} ops that are busy longest; {left:,} more are left out. report.to_frame('ops') has all."
        yield paragraph(told)
    yield _table(report, "ops", MOST_OPS)


def _held(report: Figures) -> str:
    rows = [
        (memory if memory != NOWHERE else "in no memory", str(role), "no limit" if n >= UNLIMITED else f"{n:,}")
        for memory, inside in report.held.items()
        for role, n in inside.items()
        if n
    ]
    return table("What lies in each memory when most does", ("memory", "role", "bytes"), rows, numbers=("bytes",))


def _written(report: Figures, path: str) -> str:
    """The value at a path of the design, or of an option that was read from a file, as it is written."""
    files = {name: value for name, value in report.options.items() if isinstance(value, Sourced)}
    start, _, rest = path.partition(".")
    if start in files:
        return written(files[start].at(rest))
    return written(report.origin.design.at(path)) if report.origin else ""


def _assumed(report: Figures) -> str:
    rows = [(path, _written(report, path), why) for path, why in report.assumed.items()]
    caption = "Numbers without a source, and why they were taken"
    return table(caption, ("number", "value", "reason"), rows, kind="reasons")


def _fitted(report: Figures) -> str:
    reasons: Mapping[str, Any] = report.origin.design.fitted if report.origin else {}
    rows = [
        (path, _written(report, path), point, reasons[path].reason if path in reasons else "")
        for path, point in report.fitted.items()
    ]
    names = ("number", "value", "published point", "what it stands for")
    return table("Numbers fitted to a published point", names, rows, kind="reasons")


def _versions() -> str:
    known = {name: version(name) for name in (*PACKAGES, "matplotlib")}
    known = {"archsim": __version__, **known, "python": platform.python_version()}
    return table("What made this page", ("package", "version"), known.items())
