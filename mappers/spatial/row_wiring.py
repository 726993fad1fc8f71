"""RowWiring: rows of activations in tokens, by their stream, from memory, or gathered from all sockets.

Knows rows and where they are made. Does not know what reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dataflow.format import Format
from mappers.spatial.stages import Stage, once
from mappers.spatial.tokens import Tokens
from mappers.spatial.wiring import Wiring


@dataclass(slots=True)
class RowWiring(Wiring):
    """A section which `tokens` of rows pass; without tokens its op runs whole.

    `places` are those of queues of pieces that come with each token.
    """

    tokens: Tokens | None = field(kw_only=True)
    places: int = field(kw_only=True)

    @property
    def count(self) -> int:
        """Tokens of rows."""
        return self.tokens.count if self.tokens else 1

    def by_token(self, format: Format, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """A tensor of rows in tokens: bytes of each, in order."""
        if self.tokens is None:
            return [(format.bytes(shape), 1)]
        return [(format.bytes((len(rows), *shape[1:])), 1) for rows in self.tokens.ranges()]

    def rows_of(self, stage: Stage, name: str, place: int) -> None:
        """Rows that an earlier op makes: by its stream, or from memory where that op is in another section."""
        if place == 0 and stage.op.name in self.fabric.sharing.gathered:
            name = self._gathered(stage, name)
        elif not self.there(stage, name):
            return
        if name:
            self.take(name, stage, once(stage), place)

    def there(self, stage: Stage, name: str) -> bool:
        """True where an edge carries the tensor; adds its load where it comes from memory."""
        tensor = self.graph.tensors[name]
        if name not in self.edges and (way := self.way(tensor.role, stage.op)):
            sizes = self.by_token(tensor.format, tensor.shape)
            last = self.come(f"load {self.within(name)}", way, tensor.role, sizes, self.before(stage))
            self.edge(name, last, max(size for size, _ in sizes), self.count)
        return name in self.edges

    def _gathered(self, stage: Stage, name: str) -> str:
        """The edge that carries the whole of a tensor to each socket, by an exchange; empty where it moves no bytes."""
        whole = f"{name} gathered"
        if whole not in self.edges:
            if not self.there(stage, name):
                return ""
            tensor = self.graph.tensors[name]
            sizes = self.by_token(tensor.format, tensor.shape)
            task = self.exchange(f"gather {self.within(name)}", "all_gather", name, sizes)
            self.edge(whole, task, max(size for size, _ in sizes) * self.fabric.sockets, self.count)
        return whole
