"""Model: the dimensions of a decoder network; prefill and decode turn them into a Graph."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataflow.errors import GraphError, PathProblems
from dataflow.format import FORMATS, FP32, INT8, INT32, Format, format_named
from dataflow.graph import Graph, Op, Tensor

Extent = Annotated[int, Field(ge=1, strict=True, json_schema_extra={"unit": "count", "example": "1536"})]
FormatName = Literal["fp32", "fp16", "bf16", "int8", "ternary"]
assert set(FormatName.__args__) <= set(FORMATS)  # type: ignore[attr-defined]


class Model(BaseModel):
    """The dimensions of a decoder-only network, read from YAML.

    Every layer is norm, q k v, RoPE, causal attention, o, residual, norm, SiLU-gated FFN, residual; with `sub_norms`
    a further norm stands before o and before down (BitNet). Ternary weights take INT8 activations, quantised by the
    absolute maximum of each row.
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
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why, for what the source omits")

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        problems = []
        if self.heads % self.kv_heads:
            problems.append(("heads", f"expected a multiple of kv_heads ({self.kv_heads}), got {self.heads}"))
        if self.head_dim % 2:
            problems.append(("head_dim", f"expected an even number, because RoPE turns pairs, got {self.head_dim}"))
        for key in sorted(set(self.assumed) - set(type(self).model_fields)):
            problems.append((f"assumed.{key}", "no such key in this file; an entry names a key that stands in it"))
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
        """Weights of all matrices and tables; an LM head that shares the embedding's values is counted once."""
        tables = (1 if self.tied_embeddings else 2) * self.vocab * self.hidden
        return self.layer_macs_per_token + tables

    @property
    def layer_macs_per_token(self) -> int:
        """Multiply-adds of all layers' matrices for one token; the LM head and attention are apart."""
        return self.layers * sum(n * k for n, k in self.linears.values())


def prefill(model: Model, *, prompt: int, batch: int = 1) -> Graph:
    """The graph of reading `prompt` tokens per sequence and making the first token, LM head of the last row included.

    Raises GraphError where the prompt is empty or longer than the model's context.
    """
    check_tokens(model, "prompt", prompt, batch)
    about = {"phase": "prefill", "prompt": prompt, "context": prompt, "batch": batch, "tokens": batch * prompt}
    return _graph(model, Graph(model.name, about), rows=batch * prompt, cached=0, batch=batch)


def decode(model: Model, *, context: int, batch: int = 1) -> Graph:
    """The graph of one output token per sequence that attends to `context` keys, its own included.

    So context - 1 keys lie in the cache before the step and `context` after it. Raises GraphError as prefill.
    """
    check_tokens(model, "context", context, batch)
    return _graph(
        model, Graph(model.name, _decode_about(context, batch)), rows=batch, cached=batch * (context - 1), batch=batch
    )


def next_step(model: Model, step: Graph) -> Graph:
    """The graph of the decode step after this one: equal to `decode` at one key more.

    What the context does not change is the same object in both: one layer's attention is built, the others have its
    extents, and all the rest is shared. Raises GraphError as prefill.
    """
    context, batch = step.about["context"] + 1, step.about["batch"]
    check_tokens(model, "context", context, batch)
    if context == 2:
        return decode(model, context=context, batch=batch)  # the first step has no past keys to replace
    about = _decode_about(context, batch)
    built = Graph(model.name, about)
    q, k, v = (step.ops[f"layer0.{name}"].inputs[0] for name in ("q_rope", "k_rope", "v_cache"))
    for name in (q, k, v):
        built.add_tensor(step.tensors[name])
    _attended(model, built, "layer0", (q, k, v), cached=batch * (context - 1), batch=batch)
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


def _decode_about(context: int, batch: int) -> dict[str, Any]:
    return {"phase": "decode", "prompt": None, "context": context, "batch": batch, "tokens": batch}


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


def _graph(model: Model, graph: Graph, *, rows: int, cached: int, batch: int) -> Graph:
    act = format_named(model.activations)
    graph.add_tensor(Tensor("ids", (rows,), INT32, "input"))
    graph.add_tensor(Tensor("embedding.table", (model.vocab, model.hidden), format_named(model.embedding), "embedding"))
    x = graph.add("embedding", "embedding", ("ids", "embedding.table"), format=act)
    for layer in range(model.layers):
        x = _layer(model, graph, f"layer{layer}", x, rows=rows, cached=cached, batch=batch)
    x = _norm(model, graph, "final_norm", x, model.hidden)
    x = graph.add("last_row", "select", (x,), format=act, batch=batch)
    graph.add_tensor(Tensor("lm_head.w", (model.vocab, model.hidden), format_named(model.lm_head), "lm_head"))
    graph.add("lm_head", "matmul", (x, "lm_head.w"), format=FP32)
    return graph


def _layer(model: Model, graph: Graph, name: str, x: str, *, rows: int, cached: int, batch: int) -> str:
    act = format_named(model.activations)
    normed = _quantized(
        model, graph, f"{name}.attention_input", _norm(model, graph, f"{name}.input_norm", x, model.hidden)
    )
    q, k, v = (_linear(model, graph, f"{name}.{w}", normed) for w in ("q", "k", "v"))
    a = _attended(model, graph, name, (q, k, v), cached=cached, batch=batch)
    if model.sub_norms:
        a = _norm(model, graph, f"{name}.attention_norm", a, model.heads * model.head_dim)
    o = _linear(model, graph, f"{name}.o", _quantized(model, graph, f"{name}.o_input", a))
    x = graph.add(f"{name}.attention_residual", "add", (o, x), format=act)
    normed = _quantized(model, graph, f"{name}.ffn_input", _norm(model, graph, f"{name}.ffn_norm", x, model.hidden))
    up, gate = (_linear(model, graph, f"{name}.{w}", normed) for w in ("up", "gate"))
    h = graph.add(f"{name}.silu", "silu_mul", (gate, up), format=act)
    if model.sub_norms:
        h = _norm(model, graph, f"{name}.down_norm", h, model.ffn)
    down = _linear(model, graph, f"{name}.down", _quantized(model, graph, f"{name}.down_input", h))
    return graph.add(f"{name}.ffn_residual", "add", (down, x), format=act)


def _attended(
    model: Model, graph: Graph, name: str, projected: tuple[str, str, str], *, cached: int, batch: int
) -> str:
    """RoPE, the caches and attention: all of a layer that depends on how many keys there are already."""
    q, k, v = projected
    act, base, past = format_named(model.activations), model.rope_base, cached // batch
    q = graph.add(f"{name}.q_rope", "rope", (q,), format=act, heads=model.heads, base=base, past=past, batch=batch)
    k = graph.add(f"{name}.k_rope", "rope", (k,), format=act, heads=model.kv_heads, base=base, past=past, batch=batch)
    keys, values = (_cached(model, graph, f"{name}.{n}_cache", new, cached, batch) for n, new in (("k", k), ("v", v)))
    return graph.add(
        f"{name}.attention",
        "attention",
        (q, keys, values),
        format=act,
        batch=batch,
        heads=model.heads,
        kv_heads=model.kv_heads,
    )


def _norm(model: Model, graph: Graph, name: str, x: str, width: int) -> str:
    act = format_named(model.activations)
    weight = graph.add_tensor(Tensor(f"{name}.w", (width,), act, "norm"))
    return graph.add(name, "rmsnorm", (x, weight), format=act, eps=model.norm_eps)


def _quantized(model: Model, graph: Graph, name: str, x: str) -> str:
    return graph.add(name, "quantize", (x,), format=INT8) if model.ternary else x


def _linear(model: Model, graph: Graph, name: str, x: str) -> str:
    weights = format_named(model.weights)
    act: Format = format_named(model.activations)
    n, k = model.linears[name.rsplit(".", 1)[1]]
    w = graph.add_tensor(Tensor(f"{name}.w", (n, k), weights, "weight"))
    if not model.ternary:
        return graph.add(name, "matmul", (x, w), format=act)
    product = graph.add(name, "ternary_matmul", (x, w), format=INT32)
    return graph.add(f"{name}_scale", "dequantize", (product,), format=act)


def _cached(model: Model, graph: Graph, name: str, new: str, cached: int, batch: int) -> str:
    """The cache after the step: what lay in it, then the new rows of each sequence."""
    width, stored = model.kv_heads * model.head_dim, format_named(model.cache)
    past = (graph.add_tensor(Tensor(f"{name}.past", (cached, width), stored, "cache")),) if cached else ()
    return graph.add(name, "append", (new, *past), format=stored, role="cache", batch=batch)
