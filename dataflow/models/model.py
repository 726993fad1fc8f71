"""Model: the dimensions of a decoder network, and its limits. dataflow/models/phases.py turns a phase into a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataflow.errors import PathProblems
from dataflow.format import FORMATS, format_named
from dataflow.models.vision import Extent, Vision
from dataflow.name import Name
from dataflow.overview import Overview, Overviewed, counted, labelled
from kernels.limits import BATCH, LAYERS, beyond

# Written out, because a Literal cannot be built from a table; the assertion keeps it within FORMATS.
FormatName = Literal["fp32", "fp16", "bf16", "int8", "ternary"]
SAID = ("name", "source", "assumed")  # what a file says of itself, no dimension
assert set(FormatName.__args__) <= set(FORMATS)  # type: ignore[attr-defined]


class Model(Overviewed, BaseModel):
    """The dimensions of a decoder-only network, read from YAML.

    Every layer is norm, q k v, RoPE, causal attention, o, residual, norm, SiLU-gated FFN, residual; with `sub_norms`
    a further norm stands before o and before down (BitNet). Ternary weights take INT8 activations, quantised by the
    absolute maximum of each row. With `vision` a sequence mixes the rows of video frames and of text tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="the name that reports print")
    source: str = Field(description="where the dimensions are from")
    layers: Extent = Field(description="decoder layers")
    hidden: Extent = Field(description="width of the residual stream")
    ffn: Extent = Field(description="width of the feed-forward network, between up, gate and down")
    heads: Extent = Field(description="query heads")
    kv_heads: Extent = Field(description="key and value heads; fewer than heads is grouped-query attention")
    head_dim: Extent = Field(description="width of a head, even for RoPE")
    vocab: Extent = Field(description="rows of the embedding table and outputs of the LM head")
    max_context: Extent = Field(description="longest context of the network, in tokens")
    window: Extent | None = Field(None, description="newest keys that a query sees, its own included; all unless given")
    weights: FormatName = Field(description="format of the layers' matrices; ternary runs them as ternary matmuls")
    embedding: FormatName = Field(description="format of the embedding table in memory")
    lm_head: FormatName = Field(description="format of the LM head's matrix in memory")
    activations: FormatName = Field(description="format of activations between ops")
    cache: FormatName = Field(description="format of the cached keys and values")
    tied_embeddings: bool = Field(strict=True, description="true if the LM head shares the embedding's values")
    sub_norms: bool = Field(strict=True, description="true for a further norm before o and before down, as BitNet has")
    norm_eps: float = Field(gt=0, strict=True, description="added to the mean square under the root of a norm")
    rope_base: float = Field(gt=0, strict=True, description="base of the rotary embedding's frequencies")
    vision: Vision | None = Field(None, description="encoder of video frames; without it the model takes no frames")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why, for what the source omits")

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        problems = []
        for path, layers in (("layers", self.layers), ("vision.layers", self.vision.layers if self.vision else 0)):
            # Each is written down in the graph of every phase.
            if problem := beyond(layers, LAYERS, of="layers", instead="take fewer; equal layers take equal times"):
                problems.append((path, problem))
        if self.heads % self.kv_heads:
            problems.append(("heads", f"expected a multiple of kv_heads ({self.kv_heads}), got {self.heads}"))
        if self.head_dim % 2:
            problems.append(("head_dim", f"expected an even number, because RoPE turns pairs, got {self.head_dim}"))
        for path in sorted(path for path in self.assumed if not _has_value(self, path)):
            problems.append((f"assumed.{path}", "no such key in this file; an entry names a key that stands in it"))
        if problems:
            raise PathProblems(problems)
        return self

    def __repr__(self) -> str:
        size = f"{counted(self.layers, 'layer')}, hidden {self.hidden}, {self.parameters:,} parameters"
        return f"<Model {self.name}: {size}>"

    def overview(self) -> Overview:
        """Its source, its size, every dimension and what it means, and why some were assumed."""
        head = (
            f"model {self.name}: {self.source}",
            f"{self.parameters:,} parameters; {self.weight_bytes:,} B in memory, norms and tables included",
        )
        foot = [labelled("assumed", f"{path}: {why}") for path, why in sorted(self.assumed.items())]
        return Overview(head, ("dimension", "value", "meaning"), (*_rows(self),), tuple(foot), (False, True, False))

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The matrices of a layer in order of use: name -> (outputs n, inputs k)."""
        attention, cached = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q": (attention, self.hidden), "k": (cached, self.hidden), "v": (cached, self.hidden),
            "o": (self.hidden, attention), "up": (self.ffn, self.hidden), "gate": (self.ffn, self.hidden),
            "down": (self.hidden, self.ffn),
        }  # fmt: skip

    @property
    def _matrices(self) -> list[tuple[int, tuple[int, int]]]:
        """How often there is each matrix, those of the vision encoder too; no table and no LM head."""
        found = [(self.layers, shape) for shape in self.linears.values()]
        if self.vision:
            found += [(self.vision.layers, shape) for shape in self.vision.linears.values()]
            found += [(1, shape) for shape in self.vision.outer_linears(self.hidden).values()]
        return found

    @property
    def parameters(self) -> int:
        """Weights of all matrices and tables; an LM head that shares the embedding's values is counted once."""
        tables = (1 if self.tied_embeddings else 2) * self.vocab * self.hidden
        return sum(times * n * k for times, (n, k) in self._matrices) + tables

    @property
    def weight_bytes(self) -> int:
        """Bytes of the whole network in memory, the same in every phase: matrices, norms, embedding table, LM head."""
        weights, act = format_named(self.weights), format_named(self.activations)
        norms = [(2 * self.layers + 1, self.hidden)]
        if self.sub_norms:
            norms += [(self.layers, self.heads * self.head_dim), (self.layers, self.ffn)]
        if self.vision:
            norms.append((2 * self.vision.layers + 1, self.vision.hidden))
        # Embedding table and LM head both lie in memory even if tied: each is stored in its own format.
        table = (self.vocab, self.hidden)
        stored = sum(times * weights.bytes(shape) for times, shape in self._matrices)
        stored += sum(times * act.bytes((width,)) for times, width in norms)
        return stored + format_named(self.embedding).bytes(table) + format_named(self.lm_head).bytes(table)


def _rows(holder: BaseModel, above: str = "") -> Iterator[tuple[str, str, str]]:
    """The dimensions by dotted path, as YAML writes them, with their meanings."""
    for name, field in type(holder).model_fields.items():
        value = getattr(holder, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{above}{name}.")
        elif name not in SAID and value is not None:
            told = str(value).lower() if isinstance(value, bool) else str(value)
            yield f"{above}{name}", told, field.description or ""


def _has_value(holder: object, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(holder, BaseModel) or key not in type(holder).model_fields:
            return False
        holder = getattr(holder, key)
    return holder is not None


def token_problems(model: Model, batch: int, **asked: int) -> list[str]:
    """What is wrong with these numbers of tokens, and with the batch."""
    problems = [
        f"{what}: model '{model.name}' takes 1 to {model.max_context} tokens, got {tokens}"
        for what, tokens in asked.items()
        if not 1 <= tokens <= model.max_context
    ]
    if problem := beyond(batch, BATCH, of="sequences", instead="take fewer at once"):
        problems.append(f"batch: {problem}")
    return problems + ([f"batch: at least one sequence, got {batch}"] if batch < 1 else [])
