"""The retrieval mapper: layers whose attention reads the cached keys and values that a selection keeps.

Per layer: q, k, v, RoPE; the choice among the cached keys; what is kept and not resident is fetched from the tier
beyond while the rest goes on as far as it can; attention; feed-forward. Weights stream from the main memory through the
one on chip. layer.py joins the tasks of a layer, cache.py says what a selection keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.selection.selection import Selection, load_selection
from dataflow.graph import Graph, Op
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.selection_summary import SelectionSummary
from mappers.build.layers import layers_of
from mappers.retrieval.cache import CachePlan, Layout, Prediction, Tiers, check_capacities, plan_cache
from mappers.retrieval.layer import LayerBuilder

WHOLE = "full"  # the shipped selection that keeps everything
MULTIPLIED = ("weight", "lm_head", "cache")  # roles of tensors that cores multiply by


def retrieval(
    graph: Graph,
    design: Design,
    *,
    selection: Selection | None = None,
    prediction: Prediction = "this",
    layout: Layout = "clustered",
) -> Schedule:
    """The schedule of a graph whose decoder layers attend to what a selection keeps of their cache.

    `selection` is the shipped `full` unless another is given. `prediction` is from the query of "this" layer, so that
    attention to what is fetched waits for the fetch, or from the layer "previous": the fetch for a layer runs beside
    all of the layer before. `layout` is how the tier beyond holds the tokens: "clustered", those of a cluster side by
    side, a request for each; or "scattered" in the order of time.

    Raises MappingError where the design has no tiers, no unit does a kind, or weights or cache do not fit.
    """
    tiers = Tiers.of(design)
    chosen = load_selection(WHOLE) if selection is None else selection
    plan = plan_cache(graph, design, tiers, chosen, prediction=prediction, layout=layout)
    if plan is None and selection is not None:
        raise MappingError(
            f"selection '{selection.name}': no attention of '{graph.name}' has a cache to choose from",
            ways_out=("no selection", "a phase of a model with a cache"),
        )
    check_capacities(graph, design, tiers, plan)
    return Schedule(
        graph,
        design.name,
        "retrieval",
        tuple(_sections(graph, design, tiers, plan)),
        recomputed=plan.recomputed() if plan else {},
        skipped=plan.skipped() if plan else {},
        selected=_summary(plan, chosen, tiers) if plan and plan.cache.cached else None,
        approximated=tuple(_approximated(graph, plan, chosen)),
        options={"selection": chosen, "prediction": prediction, "layout": layout},
    )


def _sections(graph: Graph, design: Design, tiers: Tiers, plan: CachePlan | None) -> Iterator[Section]:
    """Each group's section; where a layer fetches for the next, the first's comes before and the last has none."""
    for ops, scopes in layers_of(graph.ops.values()):
        mine = plan if plan and any(plan.is_for(op) for op in ops) else None
        sections: list[tuple[tuple[str, ...], list[Op], bool, str]] = [(scopes, ops, True, "")]
        if mine and mine.prediction == "previous" and mine.misses:
            sections = [
                (scopes[:1], [], True, "first fetch"),
                (scopes[:-1], ops, True, ""),
                (scopes[-1:], ops, False, "last layer"),
            ]
        for repeated, done, fetches, name in sections:
            if repeated:
                builder = LayerBuilder(graph, design, repeated, tiers=tiers, plan=mine, fetches=fetches)
                yield builder.layer(done, name=name)


def _summary(plan: CachePlan, selection: Selection, tiers: Tiers) -> SelectionSummary:
    step, size = plan.step, plan.batch * plan.cache.token_bytes * plan.layers
    # Else the query that chose is one of the layer before, of which none is known.
    asked = plan.prediction == "this" or not step.works
    return SelectionSummary(
        algorithm=selection.algorithm,
        kept=float(Fraction(step.kept, plan.cache.cached * plan.cache.kv_heads)),
        memory=tiers.main,
        beyond=tiers.beyond,
        resident_tokens=plan.resident,
        hit_bytes=step.hits * size,
        miss_bytes=plan.misses * size,
        requests=plan.miss_requests * plan.batch * plan.layers,
        mass_recall=step.mass_recall if asked else None,
        top_recall=step.top_recall if asked else None,
        output_error=step.output_error if asked else None,
        assumed={f"selection.{path}": why for path, why in selection.assumptions().items()},
        fitted={f"selection.{path}": point for path, point in selection.fits().items()},
    )


def _approximated(graph: Graph, plan: CachePlan | None, selection: Selection) -> Iterator[str]:
    yield (
        "activations, and the keys and values of new tokens, stay on chip beside the pieces of weights and cached keys "
        "that pass through it"
    )
    other = {t.format.name for t in graph.tensors.values() if t.role in MULTIPLIED and t.format.bits != 16}
    if other:
        yield f"weights or keys in {', '.join(sorted(other))} are multiplied at the rate of 16-bit ones"
    if plan is not None and plan.evicted:
        yield "tokens that leave the main memory are written in one stretch; they and fetches share the link"
    if plan is None or not plan.cache.cached:
        return
    shares = selection.kept or {}
    if plan.use in shares:
        yield (
            f"what is kept is given ({shares[plan.use]:.1%} of the cached tokens) and spread evenly "
            "over their ages; what choosing takes is counted on a drawn stream"
        )
    elif selection.algorithm != WHOLE:
        on = f"recorded in {selection.recording}" if selection.recording else f"drawn with seed {selection.stream.seed}"
        yield f"the choice and its quality are those on keys {on}, not on the model's own"
    if plan.step.works:
        yield "every layer and every sequence selects as the one does that the selection was run on"
    if plan.prediction == "previous" and plan.misses:
        yield (
            "the query that predicts the next layer's keys, and that layer's new keys, are taken as there a layer "
            "early; how good such a prediction is is not known"
        )
