"""The retrieval mapper: layers whose attention reads the cached keys and values that a selection keeps.

Per layer: q, k, v, RoPE; selection among the cached keys; fetch of kept tokens that are not resident from the tier
beyond, while attention to the others runs; feed-forward. All but this attention runs as mapper tiled has it: products
in tiles, by a mapping. layer.py joins the tasks of a layer, cache.py says what a selection keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.selection.selection import Selection, load_selection
from dataflow.graph import Graph
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from dataflow.selection_summary import SelectionSummary
from mappers.build.lying import Lying, Made, told_of_activations
from mappers.build.op_builder import IDEAL
from mappers.mapper import option
from mappers.retrieval.cache import CachePlan, Layout, Prediction, Tiers, cache_by_home, learned_by_home, plan_cache
from mappers.retrieval.layer import LayerBuilder
from mappers.tiled.mapper import Tiled, with_mapping
from mappers.tiled.operands import PRODUCTS
from mappers.tiled.planner import Planner

NOT_KEPT = "work on keys that the selection does not keep"
FIRST_FETCH = "first fetch"
WHOLE = "full"  # the shipped selection that keeps everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval(Tiled):
    """A graph whose decoder layers attend to what a selection keeps of their cache, over tiers of memory.

    With prediction "this" attention to fetched tokens waits for the fetch; with "previous" the fetch runs beside all of
    the layer before. Raises MappingError where the design has no tiers, no unit does a kind, or weights or cache do not
    fit.
    """

    name: ClassVar[str] = "retrieval"

    selection: Selection | None = option("what a step attends to; the shipped `full` unless given", default=None)
    prediction: Prediction = option("selects with the query of this layer, or of the one before", default="this")
    layout: Layout = option(
        "the tier beyond holds a cluster's tokens side by side, or all in order of time", default="clustered"
    )

    def _lowered(self, planner: Planner) -> Schedule:
        graph, design = planner.graph, planner.design
        tiers, selection = Tiers.of(graph, design, planner.unit_named), self.selection
        used = load_selection(WHOLE) if selection is None else selection
        groups = planner.groups
        learned, passed = learned_by_home(graph, design, groups, tiers, planner.unit_named)
        beside = sum(size for (memory, _), size in learned.items() if memory == tiers.main)
        plan = plan_cache(graph, design, tiers, used, beside, prediction=self.prediction, layout=self.layout)
        if plan is None and selection is not None:
            raise MappingError(
                f"selection '{selection.name}': no attention of '{graph.name}' has a cache to choose from",
                ways_out=("no selection", "a phase of a model with a cache"),
            )
        stored = learned | (cache_by_home(graph, tiers, plan) if plan else {})

        def made(lying: Lying) -> Made:
            ideal = Counter[str]()
            parts = list(_sections(planner, tiers, plan, lying, ideal))
            sections = tuple(section for section, _, _ in parts)
            left = {NOT_KEPT: plan.skipped() if plan else {}, IDEAL: ideal}
            schedule = Schedule(
                graph, design.name, self.name, sections,
                recomputed=plan.recomputed() if plan else {}, recomputed_for="scores of the selection",
                skipped=tuple(Skipped(reason, dict(counts)) for reason, counts in left.items() if counts),
                holds=stored, selected=_summary(plan, used, tiers) if plan and plan.cache.cached else None,
                approximated=(
                    *told_of_activations(lying, design), *_unselected(plan, used, tiers),
                    *_told_of_rates(graph, design, sections), *_approximated(plan, used),
                ),
                options={**self.options(), "selection": used},
            )  # fmt: skip
            estimated = sum(section.repeat * cycles for section, cycles, _ in parts)
            return Made(schedule, estimated, sum(section.repeat * cycles for section, _, cycles in parts))

        # The new rows' keys and values are attended to where they are made.
        passed |= {*tiers.way[1:]}
        return with_mapping(made, planner, stored, passed, keeps_rows=True)


def _sections(
    planner: Planner, tiers: Tiers, plan: CachePlan | None, lying: Lying, ideal: Counter[str]
) -> Iterator[tuple[Section, int, int]]:  # fmt: skip
    """The sections of each group of layers, with the cycles that pieces are estimated to take, and need at least.

    Where a layer fetches for the next one, a section before fetches for the first layer, and the last fetches nothing.
    """
    for ops, scopes in planner.groups:
        own_plan = plan if plan and any(map(plan.is_for, ops)) else None
        parts = [(scopes, ops, True, "")]
        if own_plan and own_plan.prediction == "previous" and own_plan.misses:
            running, last = (scopes[:-1], ops, True, ""), (scopes[-1:], ops, False, "last layer")
            # During the first fetch there lies what the first op of a layer finds.
            parts = [(scopes[:1], ops[:1], True, FIRST_FETCH), running, last]
        for own_scopes, own_ops, fetches, name in parts:
            if own_scopes:  # of a single layer, which is the last, none are left to repeat
                builder = LayerBuilder(
                    planner.graph, planner.design, own_scopes, ops=own_ops, layers=scopes, lying=lying, ideal=ideal,
                    tiers=tiers, plan=own_plan, fetches=fetches,
                )  # fmt: skip
                section = builder.layer(planner, name=name, fetch_only=name == FIRST_FETCH)
                yield section, builder.estimated, builder.least


def _summary(plan: CachePlan, selection: Selection, tiers: Tiers) -> SelectionSummary:
    step, size = plan.step, plan.batch * plan.cache.token_bytes * plan.layers
    # With prediction another layer's query chooses. How good that choice is, is not known.
    judged = plan.prediction == "this" or not step.works
    return SelectionSummary(
        given=selection.document.given, algorithm=selection.algorithm,
        keys="recorded" if selection.recording else "random",
        kept=float(Fraction(step.kept, plan.cache.cached * plan.cache.kv_heads)), memory=tiers.main,
        beyond=tiers.beyond, resident_tokens=plan.resident, hit_bytes=step.hits * size, miss_bytes=plan.misses * size,
        requests=plan.miss_requests * plan.batch * plan.layers, mass_recall=_digits(step.mass_recall, judged),
        top_recall=_digits(step.top_recall, judged), output_error=_digits(step.output_error, judged),
        assumed={f"selection.{path}": why for path, why in selection.assumptions().items()},
        fitted={f"selection.{path}": point for path, point in selection.fits().items()},
    )  # fmt: skip


def _digits(measured: float | None, judged: bool) -> float | None:
    """Six digits of a measure: the others depend on how many threads a machine sums with. None if it is not judged."""
    return float(f"{measured:.6g}") if judged and measured is not None else None


def _unselected(plan: CachePlan | None, used: Selection, tiers: Tiers) -> Iterator[str]:
    """What it means that nothing is selected or left beyond the main memory, as where no selection is given."""
    bare = used.algorithm == WHOLE and used.resident == 1
    if bare and plan is not None and plan.cache.cached and tiers.beyond is not None:
        yield (
            f"nothing is selected: each step attends to the whole cache, and as much of it as fits lies in "
            f"'{tiers.main}'; to compare with a selection, give its resident share to the whole cache too, such as "
            f"--selection {WHOLE} --set selection.resident=0.6"
        )


def _told_of_rates(graph: Graph, design: Design, sections: Sequence[Section]) -> Iterator[str]:
    """That formats are multiplied at one rate, unless the units that multiply have rates of their own."""
    other = {t.format.name for t in graph.tensors.values() if t.role.multiplied and t.format.bits != 16}
    tasks = [task for section in sections for task in section.tasks if task.computing]
    units = {task.unit for task in tasks if any(item.kind in PRODUCTS for item, _ in task.work)}
    if other and not all(getattr(design.units[name], "rates", None) for name in units):
        yield f"weights or keys in {', '.join(sorted(other))} are multiplied at the rate of 16-bit ones"


def _approximated(plan: CachePlan | None, selection: Selection) -> Iterator[str]:
    yield "new keys and values stay where activations lie until they are written; cached ones stream past"
    if plan is not None and plan.evicted:
        yield "evicted tokens are written to the tier beyond in one stretch, over the link that fetches use"
    if plan is None or not plan.cache.cached:
        return
    if plan.stored > plan.cache.tokens and selection.algorithm != WHOLE:
        yield "the selection runs on the tokens that the window shows, as if there were no older ones"
    shares = selection.kept or {}
    if plan.step.below_budget:
        yield "the cache holds less than the selection would keep, so that all of it is kept without choosing"
    elif plan.use in shares:
        yield (
            f"the kept share ({shares[plan.use]:.1%} of the cached tokens) is given and spread evenly over their ages; "
            "the work of selecting is counted on random keys"
        )
    elif selection.algorithm != WHOLE:
        drawn = f"drawn at random (seed {selection.stream.seed})"
        on = f"recorded in {selection.recording}" if selection.recording else drawn
        yield f"the selection and its quality are those on keys {on}, not on keys of the model"
    if plan.step.works:
        yield "the selection runs for one layer and one sequence; all others take its result"
    if plan.prediction == "previous" and plan.misses:
        yield (
            "the query that predicts the next layer's keys, and that layer's new keys, are taken as known a layer "
            "early; the quality of such a prediction is not known"
        )
