"""Vision: the dimensions of an image encoder and of what joins it to a decoder, and their ops in a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataflow.errors import PathProblems
from dataflow.format import format_named
from dataflow.graph import Graph, Tensor
from dataflow.models.linear import linear, quantized

if TYPE_CHECKING:
    from dataflow.models.model import Model

Extent = Annotated[int, Field(ge=1, strict=True, json_schema_extra={"unit": "count", "example": "1536"})]
CHANNELS = 3  # red, green, blue


class Vision(BaseModel):
    """The dimensions of a vision transformer and its connector, read from YAML; formats are those of the decoder.

    A frame is cut into square patches, each one row. Every layer is norm, q k v, attention of every patch to every
    patch, o, residual, norm, GELU FFN, residual; norms are layer norms. The mean of consecutive patches makes
    `frame_tokens` rows of a frame, and two matrices with a GELU between bring them to the decoder's width. Not
    modelled: biases, and the addition of position embeddings, which is taken as part of the patch embedding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Extent = Field(description="encoder layers")
    hidden: Extent = Field(description="width of the encoder's residual stream")
    ffn: Extent = Field(description="width between up and down")
    heads: Extent = Field(description="attention heads, each of hidden / heads")
    image: Extent = Field(description="pixels a side of a frame as the encoder takes it")
    patch: Extent = Field(description="pixels a side of a patch")
    frame_tokens: Extent = Field(description="rows of a frame that the decoder reads")
    connector: Extent = Field(description="width between the two matrices that lead to the decoder")
    norm_eps: float = Field(gt=0, description="added to the variance under the root of a layer norm")

    @model_validator(mode="after")
    def _consistent(self) -> Vision:
        problems = []
        if self.hidden % self.heads:
            problems.append(("hidden", f"expected a multiple of heads ({self.heads}), got {self.hidden}"))
        if self.image % self.patch:
            problems.append(("image", f"expected a multiple of patch ({self.patch}), got {self.image}"))
        elif self.frame_tokens > self.patches:
            limit = f"expected at most the patches of a frame ({self.patches})"
            problems.append(("frame_tokens", f"{limit}, got {self.frame_tokens}"))
        if problems:
            raise PathProblems(problems)
        return self

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        return (self.image // self.patch) ** 2

    @property
    def patch_inputs(self) -> int:
        """Numbers of a patch: the channels of its pixels."""
        return CHANNELS * self.patch * self.patch

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The matrices of a layer in order of use: name -> (outputs n, inputs k)."""
        square = (self.hidden, self.hidden)
        return {
            "q": square, "k": square, "v": square, "o": square,
            "up": (self.ffn, self.hidden), "down": (self.hidden, self.ffn),
        }  # fmt: skip

    def outer_linears(self, outputs: int) -> dict[str, tuple[int, int]]:
        """The matrices outside the layers, where the decoder's width is `outputs`: name -> (outputs n, inputs k)."""
        return {
            "patch_embedding": (self.hidden, self.patch_inputs),
            "connect_in": (self.connector, self.hidden),
            "connect_out": (outputs, self.connector),
        }

    def parameters(self, outputs: int) -> int:
        """Weights of all matrices, where the decoder's width is `outputs`."""
        layer = sum(n * k for n, k in self.linears.values())
        return self.layers * layer + sum(n * k for n, k in self.outer_linears(outputs).values())


def encoded(model: Model, graph: Graph, *, batch: int) -> str:
    """Adds the ops of one frame per sequence; returns the name of their rows [batch x frame_tokens, model.hidden].

    Pixels are the tensor `vision.pixels` [batch x patches, patch_inputs], patches in the order in which they pool.
    """
    vision, act = _of(model), format_named(model.activations)
    shape = (batch * vision.patches, vision.patch_inputs)
    pixels = graph.add_tensor(Tensor("vision.pixels", shape, act, "input"))
    x = _linear(model, graph, "vision.patch_embedding", _quantized(model, graph, "vision.patch_input", pixels))
    for layer in range(vision.layers):
        x = _layer(model, graph, f"vision.layer{layer}", x, batch=batch)
    x = _norm(model, graph, "vision.final_norm", x)
    x = graph.add("vision.pool", "pool", (x,), format=act, batch=batch, tokens=vision.frame_tokens)
    x = _linear(model, graph, "vision.connect_in", _quantized(model, graph, "vision.connect_input", x))
    x = graph.add("vision.connect_gelu", "gelu", (x,), format=act)
    return _linear(model, graph, "vision.connect_out", _quantized(model, graph, "vision.connect_out_input", x))


def _layer(model: Model, graph: Graph, name: str, x: str, *, batch: int) -> str:
    act, heads = format_named(model.activations), _of(model).heads
    normed = _quantized(model, graph, f"{name}.attention_input", _norm(model, graph, f"{name}.input_norm", x))
    q, k, v = (_linear(model, graph, f"{name}.{w}", normed) for w in ("q", "k", "v"))
    a = graph.add(
        f"{name}.attention", "attention", (q, k, v), format=act, batch=batch, heads=heads, kv_heads=heads, causal=False
    )
    o = _linear(model, graph, f"{name}.o", _quantized(model, graph, f"{name}.o_input", a))
    x = graph.add(f"{name}.attention_residual", "add", (o, x), format=act)
    normed = _quantized(model, graph, f"{name}.ffn_input", _norm(model, graph, f"{name}.ffn_norm", x))
    up = _linear(model, graph, f"{name}.up", normed)
    h = graph.add(f"{name}.gelu", "gelu", (up,), format=act)
    down = _linear(model, graph, f"{name}.down", _quantized(model, graph, f"{name}.down_input", h))
    return graph.add(f"{name}.ffn_residual", "add", (down, x), format=act)


def _of(model: Model) -> Vision:
    assert model.vision is not None
    return model.vision


def _norm(model: Model, graph: Graph, name: str, x: str) -> str:
    vision, act = _of(model), format_named(model.activations)
    weight = graph.add_tensor(Tensor(f"{name}.w", (vision.hidden,), act, "norm"))
    return graph.add(name, "layernorm", (x, weight), format=act, eps=vision.norm_eps)


def _quantized(model: Model, graph: Graph, name: str, x: str) -> str:
    return quantized(graph, name, x, weights=format_named(model.weights))


def _linear(model: Model, graph: Graph, name: str, x: str) -> str:
    vision = _of(model)
    shape = {**vision.linears, **vision.outer_linears(model.hidden)}[name.rsplit(".", 1)[1]]
    weights, act = format_named(model.weights), format_named(model.activations)
    return linear(graph, name, x, shape=shape, weights=weights, activations=act)
