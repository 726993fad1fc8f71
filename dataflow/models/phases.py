"""The phases of a model as graphs: prefill, decode, frame, question, and the attention of one layer.

Knows what each phase computes and the limits of a model. Does not know the ops of a layer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dataflow.errors import GraphError
from dataflow.format import format_named
from dataflow.graph import Graph, Op, Tensor
from dataflow.models.attention import attention
from dataflow.models.decoder import add_attention, add_decoder, add_embedding
from dataflow.models.encoder import add_encoder
from dataflow.models.model import Model


def prefill(model: Model, *, prompt: int, batch: int = 1) -> Graph:
    """The graph of a prefill: `prompt` tokens per sequence; the LM head on each last row makes the first output token.

    Raises GraphError if the prompt is empty or longer than the model's context.
    """
    check_tokens(model, "prompt", prompt, batch)
    about = _about(model, "prefill", prompt=prompt, context=prompt, batch=batch, tokens=batch * prompt)
    return _text(model, about, rows=batch * prompt, cached=0, batch=batch)


def decode(model: Model, *, context: int, batch: int = 1) -> Graph:
    """The graph of a decode step: one token per sequence, which attends to `context` keys, its own included.

    The cache holds context - 1 keys before the step and `context` after it. Raises GraphError as prefill does.
    """
    check_tokens(model, "context", context, batch)
    return _text(model, _decode_about(model, context, batch), rows=batch, cached=batch * (context - 1), batch=batch)


def question(model: Model, *, context: int, prompt: int, batch: int = 1) -> Graph:
    """The graph of a question: `prompt` more tokens per sequence; the last attends to `context` keys, its own included.

    The cache holds context - prompt keys of each sequence before. The LM head runs on each last row. Raises GraphError
    as prefill does, and if the context is shorter than the prompt.
    """
    problems = _token_problems(model, batch, prompt=prompt, context=context)
    # Compared only where both are possible, so that one mistake gives one message.
    if not problems and context < prompt:
        problems.append(
            f"context: the {prompt} tokens of the prompt attend to each other; expected {prompt} or more, got {context}"
        )
    _refuse(problems)
    about = _about(model, "question", prompt=prompt, context=context, batch=batch, tokens=batch * prompt)
    return _text(model, about, rows=batch * prompt, cached=batch * (context - prompt), batch=batch)


def frame(model: Model, *, context: int, batch: int = 1) -> Graph:
    """The graph of one video frame per sequence; its last row attends to `context` keys, those of the frame included.

    The encoder runs on the patches, then the decoder on frame_tokens new rows per sequence; the cache holds context -
    frame_tokens keys of each before. The LM head on the last row decides whether to answer. Raises GraphError as
    prefill does, and if the model has no vision or the context is shorter than the frame.
    """
    if model.vision is None:
        raise GraphError(f"vision: model '{model.name}' has none; a frame takes a model with a vision encoder")
    rows, problems = model.vision.frame_tokens, _token_problems(model, batch, context=context)
    if not problems and context < rows:
        problems.append(
            f"context: the {rows} tokens of a frame attend to each other; expected {rows} or more, got {context}"
        )
    _refuse(problems)
    about = _about(model, "frame", prompt=None, context=context, batch=batch, tokens=batch * rows)
    graph = Graph(model.name, {**about, "frames": batch})
    x = add_encoder(model, graph, batch=batch)
    return add_decoder(model, graph, x, cached=batch * (context - rows), batch=batch)


def _text(model: Model, about: dict[str, Any], *, rows: int, cached: int, batch: int) -> Graph:
    graph = Graph(model.name, about)
    return add_decoder(model, graph, add_embedding(model, graph, rows=rows), cached=cached, batch=batch)


def next_step(model: Model, step: Graph) -> Graph:
    """The graph of the decode step after this one, equal to `decode` with one more key.

    Both graphs share every tensor and op that does not depend on the context. The attention of one layer is built and
    the other layers take its extents. Raises GraphError as prefill does.
    """
    context, batch = step.about["context"] + 1, step.about["batch"]
    check_tokens(model, "context", context, batch)
    if context == 2:
        return decode(model, context=context, batch=batch)  # the first step has no past keys to replace
    about = _decode_about(model, context, batch)
    built = Graph(model.name, about)  # layer 0 alone stands for all: layers differ in their names only
    q, k, v = (step.ops[f"layer0.{name}"].inputs[0] for name in ("q_rope", "k_rope", "v_cache"))
    for name in (q, k, v):
        built.add_tensor(step.tensors[name])
    add_attention(model, built, "layer0", (q, k, v), cached=batch * (context - 1), batch=batch)
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
    """`about` of a phase's graph; in every phase the weights of the whole model lie in memory."""
    return {"phase": phase, **extents, "weight_bytes": model.weight_bytes}


# Cached, because every step of a generation asks for the same few names.
@lru_cache(maxsize=64)
def _in_each_layer(name: str, layers: int) -> tuple[str, ...]:
    """The names in every layer of what layer 0 calls "layer0.x"."""
    return tuple(f"layer{layer}.{name.partition('.')[2]}" for layer in range(layers))


def check_tokens(model: Model, what: str, tokens: int, batch: int) -> None:
    """Raises GraphError if the number of tokens is beyond the model's context or below one, or the batch is empty."""
    _refuse(_token_problems(model, batch, **{what: tokens}))


def check_generation(model: Model, *, prompt: int, tokens: int, batch: int) -> None:
    """Raises GraphError with every reason why the model cannot make this many tokens after a prompt of this length."""
    # Capped, because the message below says more about too many tokens: how many are possible.
    problems = _token_problems(model, batch, prompt=prompt, tokens=min(tokens, model.max_context))
    # The prefill makes the first token, so the step of the last one attends to tokens - 1 keys beyond the prompt.
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


def layer_attention(
    model: Model, *, prompt: int, context: int, batch: int = 1, causal: bool = True, window: int | None = None
) -> Graph:
    """The attention of one layer of a model: `prompt` queries per sequence over `context` keys.

    Raises GraphError if prompt or context are beyond the model's context, or an extent is impossible.
    """
    check_tokens(model, "prompt", prompt, batch)
    check_tokens(model, "context", context, batch)
    return attention(
        queries=prompt, keys=context, head_dim=model.head_dim, heads=model.heads, kv_heads=model.kv_heads, batch=batch,
        causal=causal, window=window, format=format_named(model.activations), name=model.name,
    )  # fmt: skip
