"""The shapes of a decoder as a table-lookup accelerator runs it, read once from the graph. Does not know tasks."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import PrefillAttention, WeightLoader
from dataflow.graph import Graph
from dataflow.mask import Mask
from dataflow.models.phases import Prefill
from dataflow.op import Work
from mappers.table_lookup.unit_names import UnitNames

AttentionOrder = Literal["reversed", "plain"]
Buffering = Literal["single", "double"]

LINEARS = ("q", "k", "v", "o", "up", "gate", "down")
VECTOR_ELEMENTS = 16  # elements that the float path moves at once: 256 bit of FP16 (arXiv 2510.15926)


@dataclass(frozen=True, slots=True)
class Shapes:
    """A decoder's shapes and the units that run it. The accelerator works on `padded` rows."""

    graph: Graph
    design: Design
    names: UnitNames
    loader: WeightLoader
    buffering: Buffering
    order: AttentionOrder
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rows: int
    padded: int
    keys: int
    mask: Mask
    group: int
    activation_bytes: int

    @staticmethod
    def of(graph: Graph, design: Design, buffering: Buffering, order: AttentionOrder) -> Shapes:
        """The shapes of this graph. Raises MappingError where it is no decoder or the design lacks a unit."""
        missing = [f"layer0.{n}" for n in (*LINEARS, "attention") if f"layer0.{n}" not in graph.ops]
        if missing:
            raise MappingError(
                f"graph '{graph.name}' has no op {', '.join(map(repr, missing))}; a table-lookup accelerator runs "
                "decoder layers of q, k, v, attention, o, up, gate and down"
            )
        names = UnitNames.of(design)
        prefill: PrefillAttention = design.units[names.prefill]  # type: ignore[assignment]
        attention = graph.ops["layer0.attention"]
        mask, rows = attention.work.mask, graph.tensors["embedding"].shape[0]
        assert mask is not None
        # The prefill engine works on whole groups of queries; a decode step has one row and no group.
        padded = ceil(rows / prefill.query_parallel) * prefill.query_parallel
        return Shapes(
            graph, design, names, design.of_kind(WeightLoader)[names.loader], buffering, order,
            layers=sum(1 for op in graph.ops.values() if op.kind == "attention"), heads=attention.work["heads"],
            kv_heads=attention.work["kv_heads"], head_dim=attention.work["qk_dim"], rows=rows,
            padded=padded if isinstance(graph.phase, Prefill) else rows, keys=graph.tensors["layer0.k_cache"].shape[0],
            mask=mask, group=prefill.query_parallel,
            activation_bytes=graph.tensors["embedding"].format.bytes((1,)),
        )  # fmt: skip

    @property
    def attention(self) -> Work:
        """The work of a layer's attention."""
        return self.graph.ops["layer0.attention"].work

    @property
    def prefill(self) -> bool:
        """True where the graph is a prefill, False where it is a decode step."""
        return isinstance(self.graph.phase, Prefill)

    @property
    def seen(self) -> range:
        """The keys that the one query of a decode step sees; in reversed order they count from its own key on."""
        seen = self.mask.seen(0, queries=1, keys=self.keys)
        return range(len(seen)) if self.order == "reversed" else seen

    def groups(self) -> list[tuple[range, range]]:
        """The groups of a prompt's queries, each with the keys that it is scored against.

        In reversed order rows count from the newest token on, so that a group sees the keys from its own first row to
        the end of its last row's window; in plain order it is scored against every key.
        """
        starts = range(0, self.padded, self.group)
        groups = [range(start, start + self.group) for start in starts]
        if self.order != "reversed":
            return [(group, range(self.padded)) for group in groups]
        window = self.mask.window or self.padded
        return [(group, range(group.start, min(self.padded, group.stop - 1 + window))) for group in groups]

    def shape(self, linear: str) -> tuple[int, int]:
        """Outputs n and inputs k of a layer's matrix."""
        n, k = self.graph.tensors[f"layer0.{linear}.w"].shape
        return n, k

    def weight_bytes(self, linear: str) -> int:
        """Bytes of a layer's matrix in the loader's layout."""
        return self.loader.layout.bytes(self.shape(linear))

    @property
    def head_bytes(self) -> int:
        """Bytes of a row of one head."""
        return self.head_dim * self.activation_bytes

    def element_bytes(self, tensor: str) -> int:
        """Bytes of an element of a tensor in its own format."""
        return self.graph.tensors[tensor].format.bytes((1,))

    @property
    def cache_bytes(self) -> int:
        """Bytes of an element of the cache."""
        return self.element_bytes("layer0.k_cache")

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector of the float path."""
        return VECTOR_ELEMENTS * self.activation_bytes

    @property
    def burst_bytes(self) -> int:
        """Bytes of a request for activations or cache rows: a burst on one port."""
        return self.loader.burst_beats * self.loader.port_bits // 8

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of the requests under way on a port."""
        return self.loader.outstanding * self.burst_bytes
