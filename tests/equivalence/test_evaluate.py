"""A graph evaluated on arrays equals the same network written in torch; decode goes on where prefill ended."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import archsim
from dataflow import Graph, GraphError, Model, Tensor, decode, prefill
from dataflow.format import FP32, INT8, INT32, TERNARY
from dataflow.numeric.evaluate import evaluate, random_tensors
from dataflow.op import OP_KINDS, graph_kinds

# FP32 against FP64: a few hundred roundings of 6e-8 each, relative to the largest element of a tensor.
TOLERANCE = 2e-5
# 127 times the relative error of FP32: how far from a tie a rounding is the same in FP32 and FP64.
TIE = 1e-3

TOY = archsim.load_model("toy_llm")
BITNET = TOY.model_copy(update={"name": "bitnet", "hidden": 24, "ffn": 40, "heads": 4, "kv_heads": 2, "head_dim": 6})
GQA = Model(
    name="gqa", source="drawn", layers=2, hidden=16, ffn=20, heads=6, kv_heads=2, head_dim=4, vocab=11, max_context=32,
    weights="bf16", embedding="bf16", lm_head="bf16", activations="bf16", cache="bf16", tied_embeddings=False,
    sub_norms=False, norm_eps=1e-4, rope_base=500.0,
)  # fmt: skip
WINDOWED = GQA.model_copy(update={"name": "windowed", "window": 4})
MODELS = {model.name: model for model in (TOY, BITNET, GQA, WINDOWED)}


class Decoder(torch.nn.Module):
    """The network of dataflow.Model in FP64, sequences as a batch axis; forward returns every op's output by its name.

    A rounding within TIE of a tie may fall either way in FP32, so quantisation checks that the integers of `evaluated`
    are roundings of its own numbers and goes on with them. Everything after it can then be compared closely.
    """

    def __init__(self, model: Model, tensors: dict[str, np.ndarray], evaluated: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.model, self.evaluated = model, evaluated
        self.t = {name: torch.tensor(np.asarray(array)) for name, array in tensors.items()}
        self.made: dict[str, torch.Tensor] = {}

    def note(self, name: str, value: torch.Tensor) -> torch.Tensor:
        self.made[name] = value
        return value

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.t[f"{name}.w"].double()
        return self.note(name, torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, self.model.norm_eps))

    def quantized(self, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self.model.weights != "ternary":
            return x, None
        top = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
        integers = torch.tensor(self.evaluated[name]).reshape(x.shape).long()
        assert (integers - x * 127 / top).abs().max() <= 0.5 + TIE, name
        return self.note(name, integers), top / 127

    def linear(self, name: str, x: tuple[torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
        rows, scale = x
        weight = self.t[f"{name}.w"]
        if scale is None:
            return self.note(name, rows @ weight.double().T)
        product = self.note(name, rows @ weight.long().T)
        return self.note(f"{name}_scale", product.double() * scale * self.t[f"{name}.w_scale"].double())

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.model.head_dim)).transpose(1, 2)

    def rope(self, name: str, x: torch.Tensor) -> torch.Tensor:
        half = self.model.head_dim // 2
        frequencies = self.model.rope_base ** (-torch.arange(half).double() / half)
        angles = torch.outer(torch.arange(x.shape[1]).double(), frequencies).repeat(1, 2)
        heads = self.heads(x)
        turned = torch.cat([-heads[..., half:], heads[..., :half]], dim=-1)
        return self.note(name, (heads * angles.cos() + turned * angles.sin()).transpose(1, 2).flatten(2))

    def attention(self, name: str, x: torch.Tensor) -> torch.Tensor:
        row = self.quantized(f"{name}.attention_input", self.norm(f"{name}.input_norm", x))
        q, k, v = (self.linear(f"{name}.{part}", row) for part in "qkv")
        q, k = self.rope(f"{name}.q_rope", q), self.rope(f"{name}.k_rope", k)
        self.note(f"{name}.k_cache", k)
        self.note(f"{name}.v_cache", v)
        places = torch.arange(x.shape[1])
        age = places[:, None] - places  # of a key, as a query sees it
        mask = (age >= 0) & (age < (self.model.window or x.shape[1]))
        seen = torch.nn.functional.scaled_dot_product_attention(
            *map(self.heads, (q, k, v)), attn_mask=mask, enable_gqa=True
        )
        seen = self.note(f"{name}.attention", seen.transpose(1, 2).flatten(2))
        if self.model.sub_norms:
            seen = self.norm(f"{name}.attention_norm", seen)
        return self.linear(f"{name}.o", self.quantized(f"{name}.o_input", seen))

    def ffn(self, name: str, x: torch.Tensor) -> torch.Tensor:
        row = self.quantized(f"{name}.ffn_input", self.norm(f"{name}.ffn_norm", x))
        up, gate = (self.linear(f"{name}.{part}", row) for part in ("up", "gate"))
        gated = self.note(f"{name}.silu", torch.nn.functional.silu(gate) * up)
        if self.model.sub_norms:
            gated = self.norm(f"{name}.down_norm", gated)
        return self.linear(f"{name}.down", self.quantized(f"{name}.down_input", gated))

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.note("embedding", self.t["embedding.table"].double()[ids])
        for name in (f"layer{i}" for i in range(self.model.layers)):
            x = self.note(f"{name}.attention_residual", x + self.attention(name, x))
            x = self.note(f"{name}.ffn_residual", x + self.ffn(name, x))
        last = self.note("last_row", self.norm("final_norm", x)[:, -1:])
        weights = self.t["lm_head.w"].double() * self.t.get("lm_head.w_scale", torch.ones(())).double()
        self.note("lm_head", last @ weights.T)
        return {name: value.flatten(0, 1) for name, value in self.made.items()}


def assert_same(evaluated: dict[str, np.ndarray], expected: dict[str, torch.Tensor]) -> None:
    assert set(evaluated) == set(expected)
    for name, value in evaluated.items():
        wanted = expected[name].numpy()
        if wanted.dtype == np.int64:
            assert value.dtype in (np.int8, np.int32), name
            np.testing.assert_array_equal(value, wanted, name)
        else:
            assert value.dtype == np.float32, name
            np.testing.assert_allclose(value, wanted, rtol=0, atol=TOLERANCE * (1 + np.abs(wanted).max()), err_msg=name)


def check_prefill(model: Model, *, prompt: int, batch: int, seed: int) -> None:
    graph = prefill(model, prompt=prompt, batch=batch)
    tensors = random_tensors(graph, seed)
    evaluated = evaluate(graph, tensors)
    assert list(evaluated) == list(graph.ops)
    assert all(evaluated[name].shape == graph.tensors[name].shape for name in graph.ops)
    ids = torch.tensor(tensors["ids"]).reshape(batch, prompt)
    assert_same(evaluated, Decoder(model, tensors, evaluated)(ids))


def test_every_graph_kind_has_numbers_in_one_way():
    for kind in graph_kinds():
        assert (OP_KINDS[kind].evaluate is None) != (OP_KINDS[kind].tile is None)


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("prompt", [1, 2, 9])
@pytest.mark.parametrize("batch", [1, 2])
def test_prefill_equals_torch(model, prompt, batch):
    check_prefill(model, prompt=prompt, batch=batch, seed=prompt)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_drawn_networks_equal_torch(data):
    extent = st.integers(1, 12)
    kv_heads = data.draw(st.integers(1, 3))
    ternary = data.draw(st.booleans())
    model = TOY.model_copy(
        update={
            "layers": data.draw(st.integers(1, 2)),
            "hidden": 1 + data.draw(extent),
            "ffn": data.draw(extent),
            "kv_heads": kv_heads,
            "heads": kv_heads * data.draw(st.integers(1, 3)),
            "head_dim": 2 * data.draw(st.integers(1, 5)),
            "vocab": data.draw(extent),
            "weights": "ternary" if ternary else "fp16",
            "sub_norms": data.draw(st.booleans()),
            "window": data.draw(st.none() | st.integers(1, 14)),
            "rope_base": data.draw(st.sampled_from([100.0, 1e4, 5e5])),
        }
    )
    check_prefill(model, prompt=data.draw(extent), batch=data.draw(st.integers(1, 3)), seed=data.draw(extent))


def handed_over(model: Model, *, prompt: int, batch: int) -> tuple[dict, dict, dict]:
    """Tensors of a prefill of one token more, outputs of the decode step after a prefill, and the INT8 rows of both."""
    tensors = random_tensors(prefill(model, prompt=prompt + 1, batch=batch), seed=prompt)
    ids = tensors["ids"].reshape(batch, prompt + 1)
    first = evaluate(prefill(model, prompt=prompt, batch=batch), {**tensors, "ids": ids[:, :prompt].ravel()})
    caches = {f"{name}.past": rows for name, rows in first.items() if name.endswith("_cache")}
    second = evaluate(decode(model, context=prompt + 1, batch=batch), {**tensors, **caches, "ids": ids[:, prompt]})
    integers = {
        name: np.concatenate([rows.reshape(batch, prompt, -1), second[name][:, None]], axis=1).reshape(
            -1, rows.shape[1]
        )
        for name, rows in first.items()
        if rows.dtype == np.int8
    }
    return tensors, second, integers


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("prompt", [1, 2, 9])
@pytest.mark.parametrize("batch", [1, 2])
def test_decode_equals_the_last_row_of_a_longer_prefill(model, prompt, batch):
    tensors, second, integers = handed_over(model, prompt=prompt, batch=batch)
    ids = torch.tensor(tensors["ids"]).reshape(batch, prompt + 1)
    expected = Decoder(model, tensors, integers)(ids)
    rows = {name: value if name.endswith("_cache") or len(value) == batch else value[prompt :: prompt + 1]
            for name, value in expected.items()}  # fmt: skip
    assert_same(second, rows)


@pytest.mark.parametrize("prompt", [1, 9])
@pytest.mark.parametrize("batch", [1, 2])
def test_decode_and_prefill_agree_without_torch(prompt, batch):
    """Without integers nothing rounds at a tie, so that both evaluations agree as closely as FP32 does."""
    tensors, second, _ = handed_over(GQA, prompt=prompt, batch=batch)
    longer = evaluate(prefill(GQA, prompt=prompt + 1, batch=batch), tensors)
    np.testing.assert_allclose(second["lm_head"], longer["lm_head"], rtol=0, atol=TOLERANCE)
    for name in ("layer1.k_cache", "layer1.v_cache"):
        np.testing.assert_allclose(second[name], longer[name], rtol=0, atol=TOLERANCE)


def test_sequences_do_not_see_each_other():
    graph = prefill(BITNET, prompt=5, batch=2)
    tensors = random_tensors(graph, seed=0)
    pair = evaluate(graph, tensors)
    alone = evaluate(prefill(BITNET, prompt=5), {**tensors, "ids": tensors["ids"][5:]})
    np.testing.assert_allclose(pair["lm_head"][1:], alone["lm_head"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("queries", "keys", "batch"), [(1, 1, 1), (3, 3, 2), (2, 5, 1), (3, 4, 2), (1, 6, 3)])
def test_queries_after_a_cache_see_it_and_each_other_causally(queries, keys, batch):
    graph = Graph("attention")
    for name, rows, width in (("q", queries, 12), ("k", keys, 6), ("v", keys, 6)):
        graph.add_tensor(Tensor(name, (batch * rows, width), FP32))
    graph.add("a", "attention", ("q", "k", "v"), format=FP32, batch=batch, heads=4, kv_heads=2)
    tensors = random_tensors(graph, seed=keys)
    q, k, v = (torch.tensor(tensors[n]).double().reshape(batch, -1, h, 3).transpose(1, 2) for n, h in
               (("q", 4), ("k", 2), ("v", 2)))  # fmt: skip
    mask = torch.ones(queries, keys).tril(diagonal=keys - queries).bool()
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    expected = expected.transpose(1, 2).reshape(batch * queries, 12).numpy()
    np.testing.assert_allclose(evaluate(graph, tensors)["a"], expected, rtol=0, atol=TOLERANCE)


def test_scales_of_rows_and_matrices_are_one_unless_given():
    graph = Graph("scales")
    graph.add_tensor(Tensor("x", (2, 3), INT8))
    graph.add_tensor(Tensor("w", (1, 3), TERNARY, "weight"))
    graph.add("product", "ternary_matmul", ("x", "w"), format=INT32)
    graph.add("y", "dequantize", ("product",), format=FP32)
    x = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.int8)
    tensors = {"x": x, "w": np.array([[1, 0, -1]], dtype=np.int8)}
    assert evaluate(graph, tensors)["y"].tolist() == [[-2.0], [-2.0]]
    scales = {"w_scale": np.float32(3), "x.scale": np.array([0.5, 2], dtype=np.float32)}
    assert evaluate(graph, {**tensors, **scales})["y"].tolist() == [[-3.0], [-12.0]]


def test_missing_and_misshapen_tensors_are_named_together():
    graph = prefill(TOY, prompt=3)
    tensors = random_tensors(graph, seed=0)
    del tensors["lm_head.w"]
    tensors["ids"] = tensors["ids"][:2]
    with pytest.raises(GraphError) as raised:
        evaluate(graph, tensors)
    assert raised.value.problems == (
        "tensor 'ids': given with shape [2]; its shape is [3]",
        "tensor 'lm_head.w': not given; no op makes it, so it takes an array",
    )


def test_random_tensors_are_seeded_and_fit_the_graph():
    graph = decode(BITNET, context=4, batch=2)
    one, same, other = (random_tensors(graph, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["layer0.q.w"], other["layer0.q.w"])
    assert set(np.unique(one["layer0.q.w"])) == {-1, 0, 1}
    assert one["layer1.k_cache.past"].shape == (6, 12)
    assert 0 <= one["ids"].min() <= one["ids"].max() < BITNET.vocab
