"""Difference: of two runs the inputs that differ, then the figures that do; of two designs the values that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.files.document import path_below, written
from archsim.files.edits import differing
from archsim.files.provenance import SET
from archsim.report.difference.figures import GROUPS, Figure, figures
from archsim.report.difference.run import Run, run_of_report
from archsim.report.figures import Figures

Pairs = Mapping[str, tuple[Any, Any]]
DATA = ("design", "selection")  # inputs that a folder has whole and a report by name
LISTED = ("contents", "versions")  # hashes of files, versions of packages: compared where both have one
FOLDER = ("with",)  # what only a folder says


@dataclass(frozen=True, slots=True)
class Difference:
    """How `b` differs from `a`.

    `inputs` has the values of both as written, by dotted path, None where there is none. Of two runs `changed` has the
    figures that differ, in each group the largest effect first, and `unchanged` counts the others; of two designs both
    are None.
    """

    a: str
    b: str
    inputs: Pairs
    changed: tuple[Figure, ...] | None = None
    unchanged: int | None = None

    def __str__(self) -> str:
        """The inputs, a line each, then the figures in columns."""
        lines = [f"{path}: {_shown(a)} -> {_shown(b)}" for path, (a, b) in self.inputs.items()]
        if self.changed is None:
            return "\n".join(lines)
        head = [f"a  {self.a}", f"b  {self.b}"]
        inputs = ["inputs that differ", *(f"  {line}" for line in lines)] if lines else ["no input differs"]
        return "\n".join([*head, "", *inputs, "", *self._table()])

    def _table(self) -> list[str]:
        changed = self.changed or ()
        if not changed:
            return [f"no figure differs, of {self.unchanged}"]
        # What differs by less than the digits show would be two equal values side by side.
        shown = [one for one in changed if one.shows]
        less = f", {len(changed) - len(shown)} differ by less than is shown" if len(shown) < len(changed) else ""
        rest = f"{self.unchanged} other figures are the same{less}"
        if not shown:
            return [rest]
        rows = {group: [one.cells() for one in shown if one.group == group] for group in GROUPS}
        wide = [max(len(row[i]) for cells in rows.values() for row in cells) for i in range(4)]
        wide[0] = max(wide[0], *(len(group) - 2 for group, cells in rows.items() if cells), 0)
        lines: list[str] = []
        for group, cells in rows.items():
            if cells:
                lines += [""] * bool(lines)
                lines.append(f"{group:<{wide[0] + 2}} {'a':>{wide[1]}}  {'b':>{wide[2]}}")
                lines += [f"  {n:<{wide[0]}} {a:>{wide[1]}}  {b:>{wide[2]}}  {c}".rstrip() for n, a, b, c in cells]
        lacking = any("-" in (a, b) for cells in rows.values() for _, a, b, _ in cells)
        return [*lines, "", rest, *["-  not known, or not there"] * lacking]

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data; null where a value, or a figure of a run, is not there."""
        data: dict[str, Any] = {"a": self.a, "b": self.b}
        data["inputs"] = {path: {"a": a, "b": b} for path, (a, b) in self.inputs.items()}
        if self.changed is not None:
            data["figures"] = [
                {"group": one.group, "name": one.name, "kind": one.kind, "a": one.a, "b": one.b, "ratio": one.ratio,
                 "difference": one.difference}
                for one in self.changed
            ]  # fmt: skip
            data["unchanged"] = self.unchanged
        return data


def _shown(value: Any) -> str:
    return "(none)" if value is None else written(value)


def diff(a: Figures | Design, b: Figures | Design) -> Difference:
    """How the second of two reports, or of two designs, differs from the first. Raises InputError for anything else."""
    if isinstance(a, Design) and isinstance(b, Design):
        return difference_of_designs(a, b, names=(a.name, b.name))
    if isinstance(a, Figures) and isinstance(b, Figures):
        runs = run_of_report(a.design, a), run_of_report(b.design, b)
        return difference_of_runs(*runs)
    raise InputError(f"diff: expected two reports, or two designs, got {quoted(a)} and {quoted(b)}")


def difference_of_designs(a: Design, b: Design, *, names: tuple[str, str]) -> Difference:
    """The values that differ, as written."""
    return Difference(*names, _differing(a.document.data, b.document.data))


def difference_of_runs(a: Run, b: Run) -> Difference:
    """The inputs that differ, and the figures."""
    left, right = _comparable(a, b), _comparable(b, a)
    inputs: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*left, *right]):
        both = _differing(left.get(key), right.get(key))
        inputs |= {path_below(key, path): two for path, two in both.items()}
    every = figures(a.summary, b.summary)
    changed = tuple(one for one in every if one.changed)
    titles = [f"{run.name}: {run.summary.title()}" for run in (a, b)]
    return Difference(titles[0], titles[1], inputs, changed, len(every) - len(changed))


def _comparable(run: Run, other: Run) -> dict[str, Any]:
    """Of the inputs of a run what the other one says too."""
    kept, others, names = dict(run.inputs), other.inputs, run.summary.inputs(run.asked)
    for key in DATA:  # by name where one of the two knows no more
        if isinstance(kept.get(key), Mapping) and not isinstance(others.get(key), Mapping):
            kept[key] = names.get(key)
    if isinstance(kept["design"], Mapping):
        del kept["set"]  # the values stand in the design
    for key in FOLDER:
        if key not in others:
            kept.pop(key, None)
    for key in LISTED:
        known = others.get(key)
        kept[key] = {name: one for name, one in kept.get(key, {}).items() if known is not None and name in known}
    return kept


def _differing(a: Any, b: Any) -> Pairs:
    """The values that differ; that one was set in a variant is told by the value itself."""
    sides = [side for side in (a, b) if isinstance(side, Mapping)]
    said = [side.get("assumed") for side in sides]
    set_ = {path for entries in said if isinstance(entries, Mapping) for path, why in entries.items() if why == SET}
    beside = tuple(f"{where}.{path}" for where in ("assumed", "fitted") for path in set_)
    return {path: two for path, two in differing(a, b).items() if not path.startswith(beside)}
