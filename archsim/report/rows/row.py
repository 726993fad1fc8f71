"""Row: one point of a sweep with the figures of its reports by name, or why it has none.

Knows figures and how a table names them. Does not know how a point is run, or where rows are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.report.figures import Figures
from archsim.report.rows.number import show_number
from archsim.units import Memory
from dataflow.errors import guess, shortened
from dataflow.overview import Overview, Overviewed, labelled

Status = Literal["done", "outside", "refused", "deadlock", "fault", "lost"]
Figure = float | int | str | None

# Figures and their units; those of units, memories and resources are named after each, such as "read_bytes.ddr".
OF_A_RUN = {
    "cycles": "cycles", "seconds": "s", "tokens_per_second": "token/s", "decode_tokens_per_second": "token/s",
    "frames_per_second": "frame/s", "ttft_seconds": "s", "tpot_seconds": "s", "energy_joules": "J", "power_watts": "W",
    "tokens_per_joule": "token/J", "lower_bound_cycles": "cycles",
}  # fmt: skip
OF_A_SELECTION = {
    "kept": "share", "hit_rate": "share", "hit_bytes": "B", "miss_bytes": "B", "mass_recall": "share",
    "top_recall": "share", "output_error": "",
}  # fmt: skip
ROOFLINE, BOTTLENECK = "roofline_cycles", "bottleneck"
OF_A_UNIT, OF_A_MEMORY = {"utilization": "share"}, {"read_bytes": "B", "written_bytes": "B"}
RESOURCES, SHARES, AREA = "resources", "budget_share", "area_mm2"
LONGEST_BITS = 200
WHOLE_NAMES = {**OF_A_RUN, ROOFLINE: "cycles", **OF_A_SELECTION, BOTTLENECK: "", AREA: "mm^2"}
FIRST_WORDS = {**OF_A_UNIT, **OF_A_MEMORY, RESOURCES: "count", SHARES: "share"}


@dataclass(frozen=True, slots=True, repr=False)
class Row(Overviewed):
    """One point: its settings by path, its figures by name, and what the reports simplify.

    `status` is "done", or says why there is a `problem`: "outside" (a constraint is broken; all figures are there),
    "refused" (an input is wrong, or does not fit), "deadlock", "fault" (of archsim) or "lost" (its process died). A
    figure that the report does not have is None; without a report there are none. Of several phases a figure has the
    phase's label before its name: "talk.seconds".
    """

    settings: Mapping[str, Any]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    status: Status = "done"
    problem: str | None = None

    def __getitem__(self, name: str) -> Any:
        """The figure of this name, or the setting at this path; None for a figure that the row does not have.

        Raises InputError for a name that is not one of a row that was run.
        """
        for held in (self.figures, self.settings):
            if name in held:
                return held[name]
        if self.figures:
            known = [*self.figures, *self.settings]
            raise InputError(f"no figure {quoted(name)}; {guess(str(name), known, otherwise='there are')}")
        return None

    def __repr__(self) -> str:
        settings = ", ".join(f"{path}={shortened(str(plain_value(value)))}" for path, value in self.settings.items())
        return f"<Row {settings or 'without settings'}: {self.status}>"

    def overview(self) -> Overview:
        """Its settings as they were written, its figures with their units, and what its reports simplify."""
        cells = [(path, str(plain_value(value)), "setting") for path, value in self.settings.items()]
        for name, value in self.figures.items():
            if value is not None:
                shown = value if isinstance(value, str) else show_number(value, unit_of_figure(name))
                cells.append((name, shown, "figure"))
        without = ", ".join(name for name, value in self.figures.items() if value is None)
        foot = [labelled("without", without)] if without else []
        foot += [labelled("simplified", told) for told in self.caveats]
        head = (f"row, {self.status}", *([self.problem] if self.problem else []))
        return Overview(head, ("name", "value", "kind"), tuple(cells), tuple(foot), (False, True, False))

    def as_dict(self) -> dict[str, Any]:
        """A flat line of a table: settings, figures, caveats, status and problem."""
        return {
            **{path: plain_value(value) for path, value in self.settings.items()},
            **self.figures,
            "caveats": "; ".join(self.caveats),
            "status": self.status,
            "problem": self.problem,
        }


def plain_value(value: Any) -> Any:
    """A setting as a table has it: objects by their text."""
    if isinstance(value, int) and value.bit_length() > LONGEST_BITS:
        return quoted(value)  # Python writes no ints of more than 4,300 digits
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def without_label(name: str) -> str:
    """The name of a figure without the label of its phase.

    >>> without_label("talk.seconds"), without_label("talk.read_bytes.ddr"), without_label("seconds")
    ('seconds', 'read_bytes.ddr', 'seconds')
    """
    words = name.split(".")
    ends = [(words[i], ".".join(words[i:])) for i in range(len(words))]
    return next((end for word, end in ends if end in WHOLE_NAMES or (word in FIRST_WORDS and end != word)), name)


def unit_of_figure(name: str) -> str:
    """The unit of a figure, "share" of a part of one and "count" of whole things; "" where it has none.

    >>> unit_of_figure("talk.seconds"), unit_of_figure("read_bytes.ddr"), unit_of_figure("bottleneck")
    ('s', 'B', '')
    """
    own = without_label(name)
    return WHOLE_NAMES.get(own, FIRST_WORDS.get(own.partition(".")[0], ""))


def figures_of(report: Figures) -> dict[str, Figure]:
    """The figures of a report, by name."""
    chosen = report.selected
    return {
        **{name: getattr(report, name) for name in OF_A_RUN},
        ROOFLINE: report.roofline and report.roofline[0],
        **{name: None if chosen is None else getattr(chosen, name) for name in OF_A_SELECTION},
        BOTTLENECK: report.bottleneck,
        **{f"utilization.{name}": float(unit.utilization) for name, unit in report.units.items()},
        **{f"read_bytes.{name}": report.bytes_moved(name, "read") for name in report.traffic},
        **{f"written_bytes.{name}": report.bytes_moved(name, "written") for name in report.traffic},
    }


def resources_of(design: Design) -> dict[str, Figure]:
    """What the design uses of each resource of its budget, its share of that, and area; None where not known."""
    uses = design.uses()
    used = {resource: n for resource, (n, _) in uses.items()}
    shares = {name: n / budget if n is not None and budget else None for name, (n, budget) in uses.items()}
    area: dict[str, Figure] = {AREA: None if design.area is None else float(design.area)} if design.silicon else {}
    return area | {
        f"{word}.{resource}": None if n is None else float(n)
        for word, amounts in ((RESOURCES, used), (SHARES, shares))
        for resource, n in amounts.items()
    }


def measures_of(design: Design, labels: Iterable[str]) -> tuple[str, ...]:
    """The names of the figures that are numbers, of a sweep of this design over phases of these labels."""
    of_units = [f"{name}.{unit}" for name in OF_A_UNIT for unit in design.units]
    of_memories = [f"{name}.{memory}" for name in OF_A_MEMORY for memory in design.of_kind(Memory)]
    own = [*OF_A_RUN, ROOFLINE, *OF_A_SELECTION, *of_units, *of_memories]
    labelled = [f"{label}.{name}" if label else name for label in labels for name in own]
    return (*labelled, *resources_of(design))


def measures_in(rows: Iterable[Row]) -> tuple[str, ...]:
    """The names of the figures of rows that are numbers, in their order."""
    found: dict[str, bool] = {}
    for row in rows:
        for name, value in row.figures.items():
            found[name] = found.get(name, True) and not isinstance(value, str)
    return tuple(name for name, is_number in found.items() if is_number)
