"""Pipeline: one chain of nodes through which rows of scores stream, and what each node takes and gives row by row.

Knows the cascade and the mask. Does not know units or depths.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataflow.cascade import Cascade, Expression
from dataflow.op import Box, Work, work
from dataflow.pattern import Pattern, every, sequence


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline of an attention op: the rows that stream through it, and the keys that each of them sees.

    `lanes` are its sequences and their heads; a row is one query of one lane. `seen` gives the keys of each query,
    which are the same in every lane.
    """

    prefix: str
    cascade: Cascade
    qk_dim: int
    v_dim: int
    lanes: tuple[range, range]
    seen: tuple[range, ...]

    @property
    def lane_count(self) -> int:
        """Heads of all sequences."""
        return len(self.lanes[0]) * len(self.lanes[1])

    @property
    def rows(self) -> int:
        """Rows of all lanes."""
        return self.lane_count * len(self.seen)

    @property
    def elements(self) -> int:
        """Scores of all rows."""
        return self.lane_count * sum(len(keys) for keys in self.seen)

    def by_key(self, name: str) -> bool:
        """True where the node fires once for each score, False where it fires once for each row, as the sink does."""
        return name != "sink" and self.cascade.steps_by(self.cascade[name], "key")

    def firings(self, name: str) -> int:
        """Firings of the node."""
        return self.elements if self.by_key(name) else self.rows

    def gives(self, source: str) -> Pattern[int]:
        """Tokens that the node gives in each firing; a node that reduces over the keys gives one at each row's end."""
        if self.by_key(source) and "key" not in self.cascade.ranks(source):
            return self._once_a_row(first=0, last=1)
        return every(1)

    def takes(self, source: str, sink: str) -> Pattern[int]:
        """Tokens of the source that the sink takes in each firing; one value for a row is taken at the row's start."""
        if self.by_key(sink) and "key" not in self.cascade.ranks(source):
            return self._once_a_row(first=1, last=0)
        return every(1)

    def _once_a_row(self, *, first: int, last: int) -> Pattern[int]:
        runs = []
        # Rows of one length make one period; otherwise, as under a causal mask, the pattern lists every query.
        even = len({len(keys) for keys in self.seen}) == 1
        for keys in self.seen[:1] if even else self.seen:
            runs += [(first, 1), (0, len(keys) - 1)] if first else [(0, len(keys) - 1), (last, 1)]
        return sequence(*runs)

    def tiles(self, name: str) -> tuple[Box, ...]:
        """What each firing computes, as (sequence, head, query, key); the key is 0 where a node fires for each row."""
        # In the order of firings: lane by lane, query by query, and in each row over the keys that it sees.
        queries = range(len(self.seen))
        if not self.by_key(name):
            return ((*self.lanes, queries, range(1)),)
        if len(set(self.seen)) == 1:
            return ((*self.lanes, queries, self.seen[0]),)
        lanes = [(range(s, s + 1), range(h, h + 1)) for s in self.lanes[0] for h in self.lanes[1]]
        return tuple((*lane, range(row, row + 1), self.seen[row]) for lane in lanes for row in queries)

    def counts(self, e: Expression) -> dict[str, int]:
        """What one firing of the node computes."""
        # The widths of a model stand for themselves, so that a cascade needs no numbers.
        return {what: self._width(n) for what, n in e.counts.items()}

    def _width(self, written: int | str) -> int:
        return {"qk_dim": self.qk_dim, "v_dim": self.v_dim}.get(str(written)) or int(written)

    def work(self, e: Expression) -> Work:
        """The work of one firing of the node."""
        return work(self.cascade.node(e), **{"mac": 0, "exp": 0, "flop": 0, **self.counts(e)})

    def width(self, source: str) -> int:
        """Scalars of a token that the node gives."""
        return self._width(self.cascade[source].width)
