"""The retrieval mapper: layers of which the attention reads the cached keys and values that a selection keeps.

Per layer: q, k, v, RoPE; the choice among the cached keys; what is kept and not resident is fetched from the tier
beyond while the rest goes on as far as it can; attention; feed-forward. Weights stream from the main memory through the
one on chip. How a layer is joined together stands in retrieval_layer.py, what a selection keeps in layer_step.py.
"""

from __future__ import annotations

from fractions import Fraction

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.selection.selection import Selection, load_selection
from dataflow.graph import Graph, Op
from dataflow.schedule import Schedule, Section
from dataflow.selection_summary import Selected
from mappers.build.layers import Group, groups
from mappers.retrieval.cache import CacheChoice, Layout, Prediction, choice_of
from mappers.retrieval.layer import Site, section
from mappers.retrieval.tiers import Tiers, check_capacities, tiers_of

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
    tiers = tiers_of(design)
    asked, selection = selection, load_selection(WHOLE) if selection is None else selection
    found = groups(graph.ops.values())
    choice = choice_of(graph, design, tiers, selection, prediction=prediction, layout=layout)
    if choice is None and asked is not None:
        raise MappingError(
            f"selection '{asked.name}': no attention of '{graph.name}' has a cache to choose from",
            ways_out=("no selection", "a phase of a model with a cache"),
        )
    check_capacities(graph, design, tiers, choice)
    sections = tuple(_sections(graph, design, tiers, choice, found))
    return Schedule(
        graph,
        design.name,
        "retrieval",
        sections,
        recomputed=_times(choice.scored(), choice.layers) if choice else {},
        skipped=_times(choice.skipped(), choice.layers) if choice else {},
        selected=_selected(choice, selection, tiers) if choice and choice.cached else None,
        approximated=tuple(_approximated(graph, choice, selection)),
        options={"selection": selection, "prediction": prediction, "layout": layout},
    )


def _cached(ops: list[Op], choice: CacheChoice | None) -> bool:
    return choice is not None and any(choice.is_for(op) for op in ops)


def _sections(
    graph: Graph, design: Design, tiers: Tiers, choice: CacheChoice | None, found: list[Group]
) -> list[Section]:
    """Each group's section; where a layer fetches for the next, the first's comes before and the last has none."""
    sections = []
    for ops, scopes in found:
        mine = choice if _cached(ops, choice) else None
        ahead = mine is not None and mine.prediction == "previous" and mine.misses > 0
        if ahead:
            first = Site(graph, design, tiers, scopes[:1], mine, fetches=True)
            sections.append(section(first, [], name="first fetch"))
        if not ahead or scopes[1:]:
            most = scopes[:-1] if ahead else scopes
            sections.append(section(Site(graph, design, tiers, most, mine, fetches=True), ops))
        if ahead:
            last = Site(graph, design, tiers, scopes[-1:], mine, fetches=False)
            sections.append(section(last, ops, name="last layer"))
    return sections


def _times(counts: dict[str, int], n: int) -> dict[str, int]:
    return {what: n * amount for what, amount in counts.items() if amount}


def _selected(choice: CacheChoice, selection: Selection, tiers: Tiers) -> Selected:
    step, size = choice.step, choice.batch * choice.token_bytes * choice.layers
    asked = choice.prediction == "this" or not step.works  # else by a query of the layer before, of which none is known
    return Selected(
        algorithm=selection.algorithm,
        kept=float(Fraction(step.kept, choice.cached * choice.kv_heads)),
        memory=tiers.main,
        beyond=tiers.beyond,
        resident_tokens=choice.resident,
        hit_bytes=step.hits * size,
        miss_bytes=choice.misses * size,
        requests=choice.requests * choice.batch * choice.layers,
        mass_recall=step.mass_recall if asked else None,
        top_recall=step.top_recall if asked else None,
        output_error=step.output_error if asked else None,
        assumed={f"selection.{path}": why for path, why in selection.assumptions().items()},
        fitted={f"selection.{path}": point for path, point in selection.fits().items()},
    )


def _approximated(graph: Graph, choice: CacheChoice | None, selection: Selection) -> list[str]:
    lines = [
        "activations, and the keys and values of new tokens, stay on chip beside the pieces of weights and cached keys "
        "that pass through it"
    ]
    other = {t.format.name for t in graph.tensors.values() if t.role in MULTIPLIED and t.format.bits != 16}
    if other:
        lines.append(f"weights or keys in {', '.join(sorted(other))} are multiplied at the rate of 16-bit ones")
    if choice is not None and choice.evicted:
        lines.append("tokens that leave the main memory are written in one stretch; they and fetches share the link")
    if choice is None or not choice.cached:
        return lines
    if choice.use in (selection.kept or {}):
        lines.append(
            f"what is kept is given ({(selection.kept or {})[choice.use]:.1%} of the cached tokens) and spread evenly "
            "over their ages; what choosing takes is counted on a drawn stream"
        )
    elif selection.algorithm != WHOLE:
        on = f"recorded in {selection.recording}" if selection.recording else f"drawn with seed {selection.stream.seed}"
        lines.append(f"the choice and its quality are those on keys {on}, not on the model's own")
    if choice.step.works:
        lines.append("every layer and every sequence selects as the one does that the selection was run on")
    if choice.prediction == "previous" and choice.misses:
        lines.append(
            "the query that predicts the next layer's keys, and that layer's new keys, are taken as there a layer "
            "early; how good such a prediction is is not known"
        )
    return lines

