"""Cascade: an algorithm as a sequence of tensor expressions, and how many passes over a rank it needs.

Knows which tensor is computed from which, over which ranks. Knows no numbers (kernels/stream_nodes.py), no hardware.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dataflow.errors import GraphError, refuse


@dataclass(frozen=True, slots=True)
class Expression:
    """One tensor of a cascade: the tensors it reads, its ranks, and the function that computes it.

    `reads` names operands and earlier expressions. `ranks` is ("row", "key") for one value per score and ("row",) for
    one value per row; the head dimension lies inside a value. Along a rank in `running` the expression carries a state
    and gives a value at every step. `width` counts the scalars of a value: "1", "2" for a pair, "v_dim" for a row of
    values. `counts` is the arithmetic of one step, as a number or the width of keys or values; `function` is a key of
    NODES in kernels/stream_nodes.py.
    """

    name: str
    reads: tuple[str, ...]
    ranks: tuple[str, ...]
    function: str
    counts: Mapping[str, int | str]
    running: tuple[str, ...] = ()
    width: str = "1"


@dataclass(frozen=True, slots=True)
class Cascade:
    """Expressions in order; the last one is the result. `operands` gives the ranks of each tensor from outside.

    Raises GraphError with every problem.
    """

    name: str
    operands: Mapping[str, tuple[str, ...]]
    expressions: tuple[Expression, ...]

    def __post_init__(self) -> None:
        refuse([f"cascade '{self.name}': {problem}" for problem in _problems(self)])

    def __getitem__(self, name: str) -> Expression:
        return next(e for e in self.expressions if e.name == name)

    def ranks(self, name: str) -> tuple[str, ...]:
        """The ranks of an operand or of an expression's tensor."""
        return self.operands[name] if name in self.operands else self[name].ranks

    def streamed(self, e: Expression) -> tuple[str, ...]:
        """The tensors it reads that other expressions compute."""
        return tuple(read for read in e.reads if read not in self.operands)

    def dropped(self, e: Expression) -> frozenset[str]:
        """The ranks it reduces, taking a whole fibre for one value: ranks of its reads that it does not have."""
        return frozenset(rank for read in e.reads for rank in self.ranks(read)) - set(e.ranks)

    def steps_by(self, e: Expression, rank: str) -> bool:
        """True if the expression works through the rank element by element."""
        return rank in e.ranks or rank in self.dropped(e)

    def node(self, e: Expression) -> str:
        """The pattern of the node that computes the expression: see dataflow.op.NODE_KINDS."""
        streamed = self.streamed(e)
        if not streamed:
            return "source"
        if e.running:
            return "scan"
        if self.dropped(e):
            return "accumulate" if any(self[read].width == "2" for read in streamed) else "reduce"
        return "map" if len(streamed) == 1 else "zip"


def _problems(cascade: Cascade) -> Iterator[str]:
    known = dict(cascade.operands)
    for e in cascade.expressions:
        unknown = [read for read in e.reads if read not in known]
        if e.name in known:
            yield f"'{e.name}' is made twice"
        if unknown:
            yield f"'{e.name}' reads {', '.join(map(repr, unknown))}, which nothing before it makes"
        if not e.reads:
            yield f"'{e.name}' reads nothing"
        # With an unknown read the ranks cannot be judged, and the message above names the cause.
        missing = [r for r in e.ranks if not unknown and all(r not in known[read] for read in e.reads)]
        if missing and e.reads:
            yield f"'{e.name}' has the rank {', '.join(map(repr, missing))}, which nothing that it reads has"
        foreign = [rank for rank in e.running if rank not in e.ranks]
        if foreign:
            yield f"'{e.name}' runs along {', '.join(map(repr, foreign))}, which is none of its ranks"
        known.setdefault(e.name, e.ranks)
    read = {read for e in cascade.expressions for read in e.reads}
    for e in cascade.expressions[:-1]:
        if e.name not in read:
            yield f"'{e.name}' is read by nothing and is not the last"


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes of a cascade over one rank, by the rule of `passes`.

    `count` is the most passes over an operand, `over` the passes over each tensor that has the rank. `crossings` are
    the edges (producer, reader) on which a complete fibre waits.
    """

    count: int
    over: Mapping[str, int]
    crossings: tuple[tuple[str, str], ...]

    def live_elements(self, extent: int) -> int:
        """Fewest values of a row held at once if each is computed once: the whole fibre, or one."""
        return extent if self.crossings else 1


def passes(cascade: Cascade, rank: str = "key") -> Passes:
    """The passes of a cascade over the fibres of a rank.

    An expression that drops the rank is a barrier: its value needs the complete fibre. An expression visits a tensor if
    it reads the tensor, or reads something computed from it element by element. A visit comes one pass after another
    visit if it needs a barrier that needs the other. The passes over a tensor are its longest chain of such visits.
    Expressions that stream into each other run in step. If a barrier's result feeds back into expressions in step with
    the barrier, the reader of that result runs one generation later. A complete fibre waits on every edge that carries
    the rank from an earlier generation to a later one.
    Source of the passes: FuseMax (arXiv 2406.10491); derived: the edges.

    >>> [passes(CASCADES[form]).count for form in ("scaled", "naive", "memory_free")]
    [3, 2, 1]
    """
    if rank not in {r for ranks in cascade.operands.values() for r in ranks}:
        raise GraphError(f"cascade '{cascade.name}': no operand has the rank '{rank}'")
    needs = _needs(cascade)
    barriers = {e.name for e in cascade.expressions if rank in cascade.dropped(e)}
    # Everything that is complete before an expression starts: the barriers it needs and what those need.
    complete_before = {
        name: frozenset[str]().union(*(needs[barrier] | {barrier} for barrier in needed & barriers))
        for name, needed in needs.items()
    }
    ranked = [tensor for tensor in (*cascade.operands, *needs) if rank in cascade.ranks(tensor)]
    over = {tensor: _longest(_visits(cascade, tensor), complete_before) for tensor in ranked}
    count = max((n for tensor, n in over.items() if tensor in cascade.operands), default=0)
    return Passes(count, over, _crossings(cascade, rank))


def _crossings(cascade: Cascade, rank: str) -> tuple[tuple[str, str], ...]:
    generation: dict[str, int] = {}
    leads_to = _leads_to(cascade, rank)
    for e in cascade.expressions:
        # The reads that this expression holds up in turn: each lies with it on a circle of waiting.
        circle = [read for read in cascade.streamed(e) if read in leads_to[e.name]]
        generation[e.name] = max(
            (generation[read] + (rank in cascade.dropped(cascade[read])) for read in circle), default=0
        )
    return tuple(
        (read, e.name)
        for e in cascade.expressions
        for read in cascade.streamed(e)
        if rank in cascade.ranks(read) and generation[e.name] > generation[read]
    )


def _leads_to(cascade: Cascade, rank: str) -> dict[str, set[str]]:
    """For each expression, all those it holds up: its readers and, since both run in step, those it streams from."""
    edges = [(read, e.name) for e in cascade.expressions for read in cascade.streamed(e)]
    # A producer with a token per element of the rank cannot run ahead of its reader, so waiting spreads both ways.
    edges += [(reader, maker) for maker, reader in edges if rank in cascade.ranks(maker)]
    found = {e.name: {e.name} for e in cascade.expressions}
    for _ in found:  # a path without repetition has fewer edges than there are expressions
        for source, target in edges:
            found[source] |= found[target]
    return found


def _needs(cascade: Cascade) -> dict[str, frozenset[str]]:
    """For each expression, all those it is computed from, directly or not."""
    needs: dict[str, frozenset[str]] = {}
    for e in cascade.expressions:
        streamed = cascade.streamed(e)
        needs[e.name] = frozenset(streamed).union(*(needs[read] for read in streamed))
    return needs


def _visits(cascade: Cascade, tensor: str) -> list[str]:
    """The expressions that read the tensor, or one computed from it element by element, which keeps all its ranks."""
    same, found = {tensor}, []
    for e in cascade.expressions:
        if same & set(e.reads):
            found.append(e.name)
            if set(cascade.ranks(tensor)) <= set(e.ranks):
                same.add(e.name)
    return found


def _longest(visits: list[str], complete_before: Mapping[str, frozenset[str]]) -> int:
    depth: dict[str, int] = {}
    for visit in visits:  # in the order of the cascade, so every earlier pass has its depth already
        depth[visit] = 1 + max((depth[other] for other in depth if other in complete_before[visit]), default=0)
    return max(depth.values(), default=0)


_ROW, _SCORE = ("row",), ("row", "key")
_OPERANDS = {"q": ("row",), "k": ("key",), "v": ("key",)}
_score = Expression("score", ("q", "k"), _SCORE, "score", {"mac": "qk_dim"})
_max = Expression("max", ("score",), _ROW, "max", {"flop": 1})
_exp = Expression("exp", ("score",), _SCORE, "exp", {"exp": 1})
_exp_below_max = Expression("exp", ("score", "max"), _SCORE, "exp_below_max", {"exp": 1, "flop": 1})
_sum = Expression("sum", ("exp",), _ROW, "sum", {"flop": 1})
_divide = Expression("divide", ("exp", "sum"), _SCORE, "divide", {"flop": 1})
_output = Expression("output", ("divide", "v"), _ROW, "weighted_sum", {"mac": "v_dim"}, width="v_dim")
_values = Expression("values", ("exp", "v"), _ROW, "weighted_sum", {"mac": "v_dim"}, width="v_dim")
_divide_row = Expression("output", ("values", "sum"), _ROW, "divide", {"flop": "v_dim"}, width="v_dim")
# Online softmax (arXiv 1805.02867): each score gives its weight and the factor that rescales what was summed before it.
_weight = Expression("weight", ("score",), _SCORE, "running_max", {"exp": 2, "flop": 3}, ("key",), "2")
_running_sum = Expression("sum", ("weight",), _ROW, "rescaled_sum", {"flop": 2})
_running_values = Expression(
    "values", ("weight", "v"), _ROW, "rescaled_weighted_sum", {"mac": "v_dim", "flop": "v_dim"}, width="v_dim"
)

# Attention, softmax(q k^T) v, row by row. Source: arXiv 2404.16629, which gives these forms as streams.
CASCADES: Mapping[str, Cascade] = {
    name: Cascade(name, _OPERANDS, expressions)
    for name, expressions in {
        "naive": (_score, _exp, _sum, _divide, _output),
        "scaled": (_score, _max, _exp_below_max, _sum, _divide, _output),
        "reordered": (_score, _max, _exp_below_max, _sum, _values, _divide_row),
        "reordered_without_max": (_score, _exp, _sum, _values, _divide_row),
        "memory_free": (_score, _weight, _running_sum, _running_values, _divide_row),
    }.items()
}
