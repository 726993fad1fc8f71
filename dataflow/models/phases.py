"""The phases of a model: prefill, decode, frame, question, the attention of one layer, and a whole generation.

Knows what each phase computes and the limits of a model. Does not know the ops of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from typing import Any, ClassVar

from dataflow.errors import GraphError, InputError, guess, quoted, refuse
from dataflow.graph import Graph, Op, Tensor
from dataflow.models.attention import LayerAttention
from dataflow.models.decoder import add_attention, add_decoder, add_embedding
from dataflow.models.encoder import add_encoder
from dataflow.models.model import Model, token_problems
from dataflow.phase import Phase, asked_by, asks, field_types, flag, type_problems

LAST = "keys that the last token attends to, its own included"

MOST_OPS = 8192  # of all graphs that are kept, about 10 MB
# The graphs that were built last, by phase and by the identity of the model, which is kept beside its graph.
_kept: dict[tuple[Phase, int], tuple[Model, Graph]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefill(Phase):
    """`prompt` tokens per sequence; the LM head on each last row makes the first output token."""

    name: ClassVar[str] = "prefill"
    done: ClassVar[str] = "{tokens} read"
    first_token: ClassVar[bool] = True

    prompt: int = asks("tokens of the prompt")

    @property
    def context(self) -> int:
        """Keys that the last token attends to."""
        return self.prompt

    def graph(self, model: Model) -> Graph:
        """The graph. Raises GraphError if the prompt is empty or longer than the model's context."""
        refuse(token_problems(model, self.batch, prompt=self.prompt))
        return _text(model, self, rows=self.prompt, cached=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode(Phase):
    """One token per sequence, which attends to `context` keys: the cache holds one fewer before the step."""

    name: ClassVar[str] = "decode"
    one_token: ClassVar[bool] = True

    context: int = asks(LAST)

    def graph(self, model: Model) -> Graph:
        """The graph. Raises GraphError if the context is empty or longer than the model's."""
        refuse(token_problems(model, self.batch, context=self.context))
        return _text(model, self, rows=1, cached=self.context - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame(Phase):
    """One video frame per sequence: the encoder on its patches, then the decoder on its rows.

    The LM head on the last row decides whether to answer. The last row attends to `context` keys, the frame's included.
    """

    name: ClassVar[str] = "frame"
    use: ClassVar[str] = "frame"

    context: int = asks(LAST)

    @property
    def frames(self) -> int:
        """A frame for each sequence."""
        return self.batch

    def graph(self, model: Model) -> Graph:
        """The graph. Raises GraphError also if the model has no vision or the context is shorter than the frame."""
        if model.vision is None:
            raise GraphError(f"vision: model '{model.name}' has none; a frame takes a model with a vision encoder")
        rows = model.vision.frame_tokens
        refuse(_longer(model, self.batch, rows, f"the {rows} tokens of a frame", context=self.context))
        graph = Graph(model.name, self, self.batch * rows, model.weight_bytes)
        x = add_encoder(model, graph, model.vision, batch=self.batch)
        return add_decoder(model, graph, x, cached=self.batch * (self.context - rows), batch=self.batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Phase):
    """`prompt` more tokens per sequence behind a cache; the last attends to `context` keys, its own included."""

    name: ClassVar[str] = "question"
    done: ClassVar[str] = "{tokens} read"
    use: ClassVar[str] = "question"

    context: int = asks(LAST)
    prompt: int = asks("tokens of the prompt")

    def graph(self, model: Model) -> Graph:
        """The graph. Raises GraphError also if the context is shorter than the prompt."""
        rows = self.prompt
        refuse(_longer(model, self.batch, rows, f"the {rows} tokens of the prompt", prompt=rows, context=self.context))
        return _text(model, self, rows=rows, cached=self.context - rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Phase):
    """`tokens` tokens after a prompt: a prefill, which makes the first, and a decode step for each of the others."""

    name: ClassVar[str] = "generate"
    done: ClassVar[str] = "{tokens} made, the prefill's time included"
    many_steps: ClassVar[bool] = True

    prompt: int = asks("tokens of the prompt")
    tokens: int = asks("tokens to make, the first by the prefill")

    @property
    def tokens_made(self) -> int:
        """Tokens of all sequences."""
        return self.batch * self.tokens

    def steps(self, model: Model) -> Iterator[Graph]:
        """The prefill, then decode steps at contexts of prompt + 1 to prompt + tokens - 1."""
        yield Prefill(prompt=self.prompt, batch=self.batch).graph(model)
        step: Graph | None = None
        for context in range(self.prompt + 1, self.prompt + self.tokens):
            step = Decode(context=context, batch=self.batch).graph(model) if step is None else next_step(model, step)
            yield step

    def ends(self, model: Model) -> tuple[Graph, ...]:
        """The prefill and the last step: contexts only grow. Raises GraphError with all that the model cannot do."""
        prompt, tokens, most = self.prompt, self.tokens, model.max_context
        # Capped, because the message below says more about too many tokens: how many are possible.
        problems = token_problems(model, self.batch, prompt=prompt, tokens=min(tokens, most))
        # The prefill makes the first token, so the step of the last one attends to tokens - 1 keys beyond the prompt.
        keys = prompt + tokens - 1
        if 1 <= prompt <= most < keys and tokens >= 1:
            problems.append(
                f"tokens: the last of {tokens} after a prompt of {prompt} attends to {keys} keys, model "
                f"'{model.name}' takes at most {most}; use at most {most + 1 - prompt} tokens"
            )
        refuse(problems)
        prefill = Prefill(prompt=prompt, batch=self.batch).graph(model)
        return (prefill, Decode(context=keys, batch=self.batch).graph(model)) if tokens > 1 else (prefill,)


# The phases by name; users add phases of their own by mappers.extend.
PHASES: dict[str, type[Phase]] = {
    phase.name: phase for phase in (Prefill, Decode, LayerAttention, Frame, Question, Generate)
}


def phase_named(name: str, asked: Mapping[str, Any]) -> Phase:
    """The phase of this name with these fields; None stands for a field that is not given.

    Raises InputError with all that the phase needs and is not given, or is given and does not take.
    """
    if not isinstance(name, str) or name not in PHASES:
        raise InputError(f"unknown phase {quoted(name)}; {guess(str(name), PHASES, otherwise='phases are')}")
    phase = PHASES[name]
    given = {key: value for key, value in asked.items() if value is not None}
    meanings, types = asked_by(phase), field_types(phase)
    needed = [f.name for f in fields(phase) if f.default is MISSING]
    wanted = " and ".join(map(flag, needed)) or "nothing more"
    problems = [f"phase {name} takes {flag(key)}: {meanings[key]}" for key in needed if key not in given]
    problems += [f"phase {name} takes {wanted}, not {flag(key)}" for key in given if key not in types]
    problems += type_problems(phase, given)
    refuse(problems, InputError)
    return phase(**given)


def graph_of(phase: Phase, model: Model) -> Graph:
    """The graph of a phase, which bears the phase also where it is built from another one.

    The points of a sweep share that of a shipped phase, so nothing may be added to it.
    """
    if type(phase).__module__ != __name__:  # a user's phase may depend on more than its fields
        return _built(phase, model)
    # By identity, as a model is not hashable; while an entry has the model, no other object has its id.
    key = phase, id(model)
    if key not in _kept:
        graph = _built(phase, model)
        _kept[key] = model, graph
        while len(_kept) > 1 and sum(len(kept.ops) for _, kept in _kept.values()) > MOST_OPS:
            del _kept[next(iter(_kept))]
    return _kept[key][1]


def _built(phase: Phase, model: Model) -> Graph:
    graph = phase.graph(model)
    if not isinstance(graph, Graph):
        raise GraphError(f"phase '{phase.name}': graph gave {quoted(graph)}; expected a Graph")
    return graph if type(graph.phase) is type(phase) else replace(graph, phase=phase)


def prefill(model: Model, *, prompt: int, batch: int = 1) -> Graph:
    """The graph of a Prefill."""
    return Prefill(prompt=prompt, batch=batch).graph(model)


def decode(model: Model, *, context: int, batch: int = 1) -> Graph:
    """The graph of a Decode step."""
    return Decode(context=context, batch=batch).graph(model)


def question(model: Model, *, context: int, prompt: int, batch: int = 1) -> Graph:
    """The graph of a Question."""
    return Question(context=context, prompt=prompt, batch=batch).graph(model)


def frame(model: Model, *, context: int, batch: int = 1) -> Graph:
    """The graph of a Frame."""
    return Frame(context=context, batch=batch).graph(model)


def next_step(model: Model, step: Graph) -> Graph:
    """The graph of the decode step after this one, equal to `decode` with one more key.

    Both graphs share every tensor and op that does not depend on the context. The attention of one layer is built and
    the other layers take its extents. Raises GraphError as decode does.
    """
    assert isinstance(step.phase, Decode), "the step before is a decode step"
    phase = Decode(context=step.phase.context + 1, batch=step.phase.batch)
    context, batch = phase.context, phase.batch
    refuse(token_problems(model, batch, context=context))
    if context == 2:
        return phase.graph(model)  # the first step has no past keys to replace
    built = Graph(model.name)  # layer 0 alone stands for all: layers differ in their names only
    q, k, v = (step.ops[f"layer0.{name}"].inputs[0] for name in ("q_rope", "k_rope", "v_cache"))
    for name in (q, k, v):
        built.add_tensor(step.tensors[name])
    add_attention(model, built, "layer0", (q, k, v), cached=batch * (context - 1), batch=batch)
    graph = Graph(model.name, phase, step.tokens, step.weight_bytes)
    tensors, ops = graph.tensors, graph.ops
    tensors.update(step.tensors)
    ops.update(step.ops)
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
    return graph


# Cached, because every step of a generation asks for the same few names.
@lru_cache(maxsize=64)
def _in_each_layer(name: str, layers: int) -> tuple[str, ...]:
    """The names in every layer of what layer 0 calls "layer0.x"."""
    return tuple(f"layer{layer}.{name.partition('.')[2]}" for layer in range(layers))


def _text(model: Model, phase: Phase, *, rows: int, cached: int) -> Graph:
    """The decoder on `rows` new tokens of each sequence behind `cached` ones."""
    batch = phase.batch
    graph = Graph(model.name, phase, batch * rows, model.weight_bytes)
    x = add_embedding(model, graph, rows=batch * rows)
    return add_decoder(model, graph, x, cached=batch * cached, batch=batch)


def _longer(model: Model, batch: int, rows: int, what: str, **asked: int) -> list[str]:
    """The problems of the extents, and of a context that is shorter than the new rows."""
    problems = token_problems(model, batch, **asked)
    # Compared only where both are possible, so that one mistake gives one message.
    if not problems and asked["context"] < rows:
        problems.append(f"context: {what} attend to each other; expected {rows} or more, got {asked['context']}")
    return problems
