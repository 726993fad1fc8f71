"""Model: the dimensions of a decoder network; prefill, decode, frame and question turn them into a Graph."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataflow.errors import GraphError, PathProblems
from dataflow.format import FORMATS, format_named
from dataflow.graph import Graph, Op, Tensor
from dataflow.models.decoder import attended, decoded, embedded
from dataflow.models.vision import Extent, Vision, encoded

FormatName = Literal["fp32", "fp16", "bf16", "int8", "ternary"]
assert set(FormatName.__args__) <= set(FORMATS)  # type: ignore[attr-defined]


class Model(BaseModel):
    """The dimensions of a decoder-only network, read from YAML.

    Every layer is norm, q k v, RoPE, causal attention, o, residual, norm, SiLU-gated FFN, residual; with `sub_norms`
    a further norm stands before o and before down (BitNet). Ternary weights take INT8 activations, quantised by the
    absolute maximum of each row. With `vision` the rows of video frames stand among those of text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="the name that reports print")
    source: str = Field(description="where the dimensions are from")
    layers: Extent = Field(description="decoder layers")
    hidden: Extent = Field(description="width of the residual stream")
    ffn: Extent = Field(description="width between up, gate and down")
    heads: Extent = Field(description="query heads")
    kv_heads: Extent = Field(description="key and value heads; fewer than heads is grouped-query attention")
    head_dim: Extent = Field(description="width of a head, even for RoPE")
    vocab: Extent = Field(description="rows of the embedding table and outputs of the LM head")
    max_context: Extent = Field(description="longest context the network was made for, in tokens")
    weights: FormatName = Field(description="format of the layers' matrices; ternary makes them ternary matmuls")
    embedding: FormatName = Field(description="format of the embedding table in memory")
    lm_head: FormatName = Field(description="format of the LM head's matrix in memory")
    activations: FormatName = Field(description="format of activations between ops")
    cache: FormatName = Field(description="format of the cached keys and values")
    tied_embeddings: bool = Field(description="the LM head uses the embedding's values")
    sub_norms: bool = Field(description="a further norm before o and before down, as BitNet has")
    norm_eps: float = Field(gt=0, description="added to the mean square under the root of a norm")
    rope_base: float = Field(gt=0, description="base of the rotary embedding's frequencies")
    vision: Vision | None = Field(None, description="the encoder of video frames; a model without one takes none")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why, for what the source omits")

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        problems = []
        if self.heads % self.kv_heads:
            problems.append(("heads", f"expected a multiple of kv_heads ({self.kv_heads}), got {self.heads}"))
        if self.head_dim % 2:
            problems.append(("head_dim", f"expected an even number, because RoPE turns pairs, got {self.head_dim}"))
        for path in sorted(path for path in self.assumed if not _stands(self, path)):
            problems.append((f"assumed.{path}", "no such key in this file; an entry names a key that stands in it"))
        if problems:
            raise PathProblems(problems)
        return self

    @property
    def ternary(self) -> bool:
        """True where the layers' matrices are ternary."""
        return self.weights == "ternary"

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
    def parameters(self) -> int:
        """Weights of all matrices and tables, those of the vision too."""
        return self.decoder_parameters + (self.vision.parameters(self.hidden) if self.vision else 0)

    @property
    def decoder_parameters(self) -> int:
        """Weights of the decoder; an LM head that shares the embedding's values is counted once."""
        tables = (1 if self.tied_embeddings else 2) * self.vocab * self.hidden
        return self.layer_macs_per_token + tables

    @property
    def weight_bytes(self) -> int:
        """Bytes of all that is stored of the network whatever the phase: matrices, norms, embedding table, LM head."""
        weights, act = format_named(self.weights), format_named(self.activations)
        matrices, norms = self.layers * list(self.linears.values()), [self.hidden] * (2 * self.layers + 1)
        if self.sub_norms:
            norms += self.layers * [self.heads * self.head_dim, self.ffn]
        if self.vision:
            inside, outside = self.vision.linears, self.vision.outer_linears(self.hidden)
            matrices += [*self.vision.layers * list(inside.values()), *outside.values()]
            norms += [self.vision.hidden] * (2 * self.vision.layers + 1)
        table = (self.vocab, self.hidden)
        stored = sum(weights.bytes(shape) for shape in matrices) + sum(act.bytes((width,)) for width in norms)
        return stored + format_named(self.embedding).bytes(table) + format_named(self.lm_head).bytes(table)

    @property
    def layer_macs_per_token(self) -> int:
        """Multiply-adds of all layers' matrices for one token; the LM head and attention are apart."""
        return self.layers * sum(n * k for n, k in self.linears.values())


def _stands(holder: object, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(holder, BaseModel) or key not in type(holder).model_fields:
            return False
        holder = getattr(holder, key)
    return holder is not None


def prefill(model: Model, *, prompt: int, batch: int = 1) -> Graph:
    """The graph of reading `prompt` tokens per sequence and making the first token, LM head of the last row included.

    Raises GraphError where the prompt is empty or longer than the model's context.
    """
    check_tokens(model, "prompt", prompt, batch)
    about = _about(model, "prefill", prompt=prompt, context=prompt, batch=batch, tokens=batch * prompt)
    return _text(model, about, rows=batch * prompt, cached=0, batch=batch)


def decode(model: Model, *, context: int, batch: int = 1) -> Graph:
    """The graph of one output token per sequence that attends to `context` keys, its own included.

    So context - 1 keys lie in the cache before the step and `context` after it. Raises GraphError as prefill.
    """
    check_tokens(model, "context", context, batch)
    return _text(model, _decode_about(model, context, batch), rows=batch, cached=batch * (context - 1), batch=batch)


def question(model: Model, *, context: int, prompt: int, batch: int = 1) -> Graph:
    """The graph of `prompt` more tokens per sequence, the last of which attends to `context` keys, its own included.

    So context - prompt keys of each sequence lie in the cache before. The LM head is that of the last row. Raises
    GraphError as prefill, and where a context holds less than the prompt.
    """
    problems = _token_problems(model, batch, prompt=prompt, context=context)
    if not problems and context < prompt:
        problems.append(f"context: the {prompt} tokens of the prompt attend to each other, got a context of {context}")
    _refuse(problems)
    about = _about(model, "question", prompt=prompt, context=context, batch=batch, tokens=batch * prompt)
    return _text(model, about, rows=batch * prompt, cached=batch * (context - prompt), batch=batch)


def frame(model: Model, *, context: int, batch: int = 1) -> Graph:
    """The graph of one video frame per sequence, whose last row attends to `context` keys, those of the frame included.

    The encoder on the patches, then the decoder's layers on frame_tokens new rows per sequence, so that context -
    frame_tokens keys of each lie in the cache before. The LM head of the last row decides whether to answer. Raises
    GraphError as prefill, and where the model has no vision or the context holds less than the frame.
    """
    if model.vision is None:
        raise GraphError(f"vision: model '{model.name}' has none; a frame takes a model with a vision encoder")
    rows, problems = model.vision.frame_tokens, _token_problems(model, batch, context=context)
    if not problems and context < rows:
        problems.append(f"context: the {rows} tokens of a frame attend to each other, got a context of {context}")
    _refuse(problems)
    about = _about(model, "frame", prompt=None, context=context, batch=batch, tokens=batch * rows)
    graph = Graph(model.name, {**about, "frames": batch})
    x = encoded(model, graph, batch=batch)
    return decoded(model, graph, x, cached=batch * (context - rows), batch=batch)


def _text(model: Model, about: dict[str, Any], *, rows: int, cached: int, batch: int) -> Graph:
    graph = Graph(model.name, about)
    return decoded(model, graph, embedded(model, graph, rows=rows), cached=cached, batch=batch)


def next_step(model: Model, step: Graph) -> Graph:
    """The graph of the decode step after this one: equal to `decode` at one key more.

    What the context does not change is the same object in both: one layer's attention is built, the others have its
    extents, and all the rest is shared. Raises GraphError as prefill.
    """
    context, batch = step.about["context"] + 1, step.about["batch"]
    check_tokens(model, "context", context, batch)
    if context == 2:
        return decode(model, context=context, batch=batch)  # the first step has no past keys to replace
    about = _decode_about(model, context, batch)
    built = Graph(model.name, about)
    q, k, v = (step.ops[f"layer0.{name}"].inputs[0] for name in ("q_rope", "k_rope", "v_cache"))
    for name in (q, k, v):
        built.add_tensor(step.tensors[name])
    attended(model, built, "layer0", (q, k, v), cached=batch * (context - 1), batch=batch)
    tensors, ops = dict(step.tensors), dict(step.ops)
    for name, tensor in built.tensors.items():
        if tensor != step.tensors[name]:
            for same in _in_each_layer(name, model.layers):
                at = tensors[same]
                tensors[same] = Tensor(same, tensor.shape, at.format, at.role)
    for name, op in built.ops.items():
        if op != step.ops[name]:
            for same in _in_each_layer(name, model.layers):
                was = ops[same]
                ops[same] = Op(same, op.kind, was.inputs, was.outputs, op.work, op.attributes)
    return Graph(model.name, about, tensors, ops)


def _decode_about(model: Model, context: int, batch: int) -> dict[str, Any]:
    return _about(model, "decode", prompt=None, context=context, batch=batch, tokens=batch)


def _about(model: Model, phase: str, **extents: int | None) -> dict[str, Any]:
    """What the graph of a phase says of itself; the weights of the whole model lie in memory in each of them."""
    return {"phase": phase, **extents, "weight_bytes": model.weight_bytes}


@lru_cache(maxsize=64)
def _in_each_layer(name: str, layers: int) -> tuple[str, ...]:
    """The names that "layer0.x" has in each layer."""
    return tuple(f"layer{layer}.{name.partition('.')[2]}" for layer in range(layers))


def check_tokens(model: Model, what: str, tokens: int, batch: int) -> None:
    """Raises GraphError where the model cannot take so many tokens, or there is no sequence."""
    _refuse(_token_problems(model, batch, **{what: tokens}))


def check_generation(model: Model, *, prompt: int, tokens: int, batch: int) -> None:
    """Raises GraphError with every reason why the model cannot make so many tokens after such a prompt."""
    problems = _token_problems(model, batch, prompt=prompt, tokens=min(tokens, model.max_context))
    keys, most = prompt + tokens - 1, model.max_context
    if 1 <= prompt <= most < keys and tokens >= 1:
        problems.append(
            f"tokens: the last of {tokens} after a prompt of {prompt} attends to {keys} keys, model '{model.name}' "
            f"takes at most {most}; use at most {most + 1 - prompt} tokens"
        )
    _refuse(problems)


def _token_problems(model: Model, batch: int, **asked: int) -> list[str]:
    problems = [
        f"{what}: model '{model.name}' takes 1 to {model.max_context} tokens, got {tokens}"
        for what, tokens in asked.items()
        if not 1 <= tokens <= model.max_context
    ]
    return problems + ([f"batch: at least one sequence, got {batch}"] if batch < 1 else [])


def _refuse(problems: list[str]) -> None:
    if problems:
        raise GraphError(problems)
