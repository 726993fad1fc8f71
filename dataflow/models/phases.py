"""The phases of a model as graphs: prefill, decode, frame, question, and the attention of one layer.

Knows what each phase computes and what a model can be asked. Does not know the ops of a layer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dataflow.errors import GraphError
from dataflow.format import format_named
from dataflow.graph import Graph, Op, Tensor
from dataflow.models.attention import attention
from dataflow.models.decoder import attended, decoded, embedded
from dataflow.models.encoder import encoded
from dataflow.models.model import Model


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


def layer_attention(
    model: Model, *, prompt: int, context: int, batch: int = 1, causal: bool = True, window: int | None = None
) -> Graph:
    """The attention of one layer of a model: `prompt` queries per sequence over `context` keys.

    Raises GraphError where prompt or context are beyond the model's, or an extent cannot be.
    """
    check_tokens(model, "prompt", prompt, batch)
    check_tokens(model, "context", context, batch)
    return attention(
        queries=prompt, keys=context, head_dim=model.head_dim, heads=model.heads, kv_heads=model.kv_heads, batch=batch,
        causal=causal, window=window, format=format_named(model.activations), name=model.name,
    )  # fmt: skip
