"""Frames and questions evaluated one after another equal one pass of the same network written in torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluate import TOY, Decoder, assert_same
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

import archsim
from dataflow import Model, Question, Vision, decode, frame, prefill, question
from dataflow.numeric.evaluate import evaluate, operands_of, random_tensors
from dataflow.op import OP_KINDS

VIDEO = archsim.load_model("toy_video")
TERNARY = VIDEO.model_copy(update={"name": "ternary", "weights": "ternary", "sub_norms": True})
WIDE = VIDEO.model_copy(
    update={
        "name": "wide", "layers": 1, "hidden": 10, "heads": 4, "kv_heads": 2, "head_dim": 4,
        "vision": Vision(
            layers=1, hidden=12, ffn=9, heads=2, image=9, patch=3, frame_tokens=4, connector=11, norm_eps=1e-3
        ),
    }
)  # fmt: skip
MODELS = {model.name: model for model in (VIDEO, WIDE, TERNARY)}


class Seen(Decoder):
    """The encoder of frames in FP64, one frame after another as a batch axis, and the decoder on any rows."""

    def matrix(self, name: str, x: torch.Tensor, *, reads: str) -> torch.Tensor:
        return self.linear(f"vision.{name}", self.quantized(f"vision.{reads}", x))

    def layer_norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.t[f"vision.{name}.w"].double()
        return self.note(f"vision.{name}", layer_norm(x, x.shape[-1:], weight, None, self.model.vision.norm_eps))

    def encoder_layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        row = self.quantized(f"vision.{name}.attention_input", self.layer_norm(f"{name}.input_norm", x))
        q, k, v = (self.linear(f"vision.{name}.{part}", row) for part in "qkv")
        q, k, v = (rows.unflatten(-1, (self.model.vision.heads, -1)).transpose(1, 2) for rows in (q, k, v))
        a = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        a = self.note(f"vision.{name}.attention", a)
        x = x + self.matrix(f"{name}.o", a, reads=f"{name}.o_input")
        self.note(f"vision.{name}.attention_residual", x)
        up = self.matrix(f"{name}.up", self.layer_norm(f"{name}.ffn_norm", x), reads=f"{name}.ffn_input")
        h = self.note(f"vision.{name}.gelu", gelu(up, approximate="tanh"))
        x = x + self.matrix(f"{name}.down", h, reads=f"{name}.down_input")
        return self.note(f"vision.{name}.ffn_residual", x)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """The rows [frames, frame_tokens, hidden] of pixels [frames, patches, patch_inputs]."""
        vision = self.model.vision
        x = self.matrix("patch_embedding", pixels.double(), reads="patch_input")
        for i in range(vision.layers):
            x = self.encoder_layer(f"layer{i}", x)
        x = self.layer_norm("final_norm", x)
        patches, tokens = x.shape[1], vision.frame_tokens
        shares = [x[:, i * patches // tokens : (i + 1) * patches // tokens] for i in range(tokens)]
        x = self.note("vision.pool", torch.stack([share.mean(dim=1) for share in shares], dim=1))
        x = self.matrix("connect_in", x, reads="connect_input")
        x = self.note("vision.connect_gelu", gelu(x, approximate="tanh"))
        return self.matrix("connect_out", x, reads="connect_out_input")

    def decode(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every op of the decoder on rows x [sequences, tokens, hidden], the LM head on all of them."""
        for name in (f"layer{i}" for i in range(self.model.layers)):
            x = self.note(f"{name}.attention_residual", x + self.attention(name, x))
            x = self.note(f"{name}.ffn_residual", x + self.ffn(name, x))
        x = self.note("last_row", self.norm("final_norm", x))
        self.note("lm_head", x @ self.t["lm_head.w"].double().T)
        return self.made


@dataclass(frozen=True)
class Call:
    """One phase in a row of them: its new rows stand at `rows` of each sequence, after those of the calls before."""

    phase: str
    rows: range
    given: np.ndarray
    made: dict[str, np.ndarray]


def calls(model: Model, phases: Sequence[tuple[str, int]], *, batch: int, seed: int) -> tuple[dict, list[Call]]:
    """The weights, and the phases (name, new rows) evaluated one after another, caches handed from each to the next."""
    weights = random_tensors(frame(model, context=model.vision.frame_tokens, batch=batch), seed)
    weights |= random_tensors(prefill(model, prompt=1), seed)
    caches: dict[str, np.ndarray] = {}
    done: list[Call] = []
    for phase, new in phases:
        start = done[-1].rows.stop if done else 0
        context: Any = {"context": start + new, "batch": batch}
        graph = {
            "prefill": lambda context=context: prefill(model, prompt=context["context"], batch=batch),
            "question": lambda context=context, new=new: question(model, prompt=new, **context),
            "decode": lambda context=context: decode(model, **context),
            "frame": lambda context=context: frame(model, **context),
        }[phase]()
        source = "vision.pixels" if phase == "frame" else "ids"
        given = random_tensors(graph, seed + len(done) + 1)[source]
        made = evaluate(graph, {**weights, **caches, source: given})
        assert all(made[name].shape == graph.tensors[name].shape for name in graph.ops)
        caches = {f"{name}.past": rows for name, rows in made.items() if name.endswith("_cache")}
        done.append(Call(phase, range(start, start + new), given, made))
    return weights, done


def integers_of(done: list[Call], batch: int) -> dict[str, np.ndarray]:
    """The INT8 rows of all calls by name: those of the decoder in the order of tokens, those of frames apart."""
    names = {name for call in done for name, rows in call.made.items() if rows.dtype == np.int8}
    return {
        name: np.concatenate(
            [call.made[name].reshape(batch, -1, call.made[name].shape[1]) for call in done if name in call.made],
            axis=0 if name.startswith("vision.") else 1,
        )
        for name in names
    }


def check(model: Model, phases: Sequence[tuple[str, int]], *, batch: int, seed: int = 0) -> None:
    """Each call's every op equals its rows of one causal pass over all tokens of all calls."""
    weights, done = calls(model, phases, batch=batch, seed=seed)
    network = Seen(model, weights, integers_of(done, batch))
    table = torch.tensor(weights["embedding.table"]).double()
    frames = [torch.tensor(call.given) for call in done if call.phase == "frame"]
    seen = network.encode(torch.cat(frames).unflatten(0, (len(frames) * batch, -1))) if frames else torch.empty(0)
    of_frames = list(seen.split(batch)) if frames else []
    encoder = dict(network.made)
    rows = [
        of_frames.pop(0) if call.phase == "frame" else table[torch.tensor(call.given).reshape(batch, -1)]
        for call in done
    ]
    decoder = {name: value for name, value in network.decode(torch.cat(rows, dim=1)).items() if name not in encoder}
    number = 0
    for call, mine in zip(done, rows, strict=True):
        expected = {name: rows_of(name, value, call.rows) for name, value in decoder.items()}
        if call.phase == "frame":
            expected |= {name: value[number * batch : (number + 1) * batch].flatten(0, 1) for name, value in
                         encoder.items()}  # fmt: skip
            number += 1
        else:
            expected["embedding"] = mine.flatten(0, 1)
        assert_same(call.made, expected)


def rows_of(name: str, value: torch.Tensor, new: range) -> torch.Tensor:
    """What a call whose new rows are these makes of a tensor [sequences, tokens, d]: new rows, cache, or last row."""
    first = 0 if name.endswith("_cache") else new.stop - 1 if name in ("last_row", "lm_head") else new.start
    return value[:, first : new.stop].flatten(0, 1)


def size_of(model: Model) -> int:
    return model.vision.frame_tokens


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_a_first_frame_equals_torch(model, batch):
    check(model, [("frame", size_of(model))], batch=batch, seed=3)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_a_dialogue_about_a_video_equals_one_pass(model, batch):
    """An instruction, two frames, a question, its answer, one frame more."""
    seen = ("frame", size_of(model))
    check(model, [("prefill", 5), seen, seen, ("question", 4), ("decode", 1), seen], batch=batch)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
def test_drawn_networks_and_dialogues_equal_one_pass(data):
    extent = st.integers(1, 7)
    side, heads = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    patch = data.draw(st.integers(1, 2))
    vision = Vision(
        layers=data.draw(st.integers(1, 2)), hidden=heads * (1 + data.draw(extent)), ffn=data.draw(extent), heads=heads,
        image=side * patch, patch=patch, frame_tokens=data.draw(st.integers(1, side * side)),
        connector=data.draw(extent), norm_eps=1e-2,
    )  # fmt: skip
    model = VIDEO.model_copy(update={"vision": vision, "hidden": 1 + data.draw(extent), "ffn": data.draw(extent)})
    phase = st.one_of(st.just(("frame", vision.frame_tokens)), st.tuples(st.just("question"), st.integers(1, 5)))
    phases = data.draw(st.lists(phase, min_size=1, max_size=3))
    check(model, phases, batch=data.draw(st.integers(1, 3)), seed=data.draw(extent))


def test_a_question_at_the_start_is_a_prefill():
    asked, read = question(TOY, context=5, prompt=5, batch=2), prefill(TOY, prompt=5, batch=2)
    assert (asked.ops, asked.tensors) == (read.ops, read.tensors)
    assert asked.phase == Question(context=5, prompt=5, batch=2)
    assert (asked.tokens, asked.weight_bytes) == (read.tokens, read.weight_bytes)


def test_a_question_of_one_token_is_a_decode_step():
    asked, step = question(TOY, context=5, prompt=1, batch=2), decode(TOY, context=5, batch=2)
    assert (asked.ops, asked.tensors) == (step.ops, step.tensors)


@pytest.mark.parametrize("name", ["vision.final_norm", "vision.connect_gelu"])
def test_tiles_of_a_norm_and_of_a_gelu_are_parts_of_it(name):
    """Cut after every second row and third column, the last tiles smaller."""
    graph = frame(WIDE, context=4, batch=2)
    tensors = random_tensors(graph, seed=5)
    made = evaluate(graph, tensors)
    op, whole = graph.ops[name], made[name]
    operands = operands_of(graph, op, {**tensors, **made})
    for row, column in product(range(0, whole.shape[0], 2), range(0, whole.shape[1], 3)):
        rows = range(row, min(row + 2, whole.shape[0]))
        columns = range(column, min(column + 3, whole.shape[1]))
        tile = OP_KINDS[op.kind].tile(operands, (rows, columns))
        np.testing.assert_array_equal(tile, whole[row : rows.stop, column : columns.stop])


def test_pixels_are_drawn_as_numbers_and_ids_as_rows_of_the_table():
    pixels = random_tensors(frame(VIDEO, context=3), seed=0)["vision.pixels"]
    assert (pixels.shape, pixels.dtype) == ((4, 12), np.float32)
    ids = random_tensors(question(VIDEO, context=9, prompt=9), seed=0)["ids"]
    assert 0 <= ids.min() <= ids.max() < VIDEO.vocab
