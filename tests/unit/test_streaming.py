"""What the streaming mapper refuses, and what it says of what it did."""

from __future__ import annotations

import pytest

from archsim import MappingError, load_design, load_model, simulate
from dataflow import Graph, Tensor, attention, decode
from dataflow.format import FP16
from mappers import lower, streaming

MACHINE = load_design("streaming_machine")
TOY = load_design("toy")


def test_a_design_with_links_is_refused_as_nothing_would_read_them() -> None:
    link = {"from": "map", "to": "zip", "depth": 2, "token_bits": "32 bit"}
    with pytest.raises(MappingError, match="links: this mapper joins any two nodes by a FIFO; ways out: depths under"):
        streaming(attention(queries=2, keys=2, head_dim=2), MACHINE.with_({"links": {"a": link}}))


def test_fifos_without_a_mapper_that_reads_them_are_refused() -> None:
    with pytest.raises(MappingError, match="fifos: this mapper joins units by the design's links"):
        lower(decode(load_model("toy_llm"), context=3), TOY.with_({"fifos": {"long": 3}}))


def test_two_attentions_are_two_sections_one_after_another() -> None:
    graph = Graph("twice")
    for name, rows in (("q", 3), ("k", 5), ("v", 5), ("r", 2)):
        graph.add_tensor(Tensor(name, (rows, 4), FP16))
    masks = {"batch": 1, "heads": 2, "kv_heads": 2, "causal": False}
    graph.add("first", "attention", ("q", "k", "v"), format=FP16, **masks)
    graph.add("second", "attention", ("r", "k", "v"), format=FP16, **masks)
    report = simulate(streaming(graph, MACHINE), MACHINE)
    assert report.sections == (("first", 1, 3 * 5 + 4), ("second", 1, 2 * 5 + 4))
    assert [op.name for op in report.ops] == ["first", "second"]


@pytest.mark.parametrize("form, widest", [("naive", 2 * 64), ("memory_free", 2 * 64)])
def test_tokens_are_as_wide_as_what_they_hold(form: str, widest: int) -> None:
    """FP16 scalars of 2 B, a pair of 4 B, rows of 64 scalars."""
    schedule = streaming(attention(queries=2, keys=3, head_dim=64, format=FP16), MACHINE, form=form)  # type: ignore[arg-type]
    widths = {s.name: s.bytes_per_token for s in schedule.sections[0].streams}
    assert max(widths.values()) == widths["output > sink"] == widest
    assert widths.get("weight > sum", 4) == 4
    assert widths[next(iter(widths))] == 2


def test_what_is_computed_beyond_the_products_is_declared() -> None:
    """12 scores in 3 rows: a second exponential each; three flop a weight, two a sum, eight a rescaled row."""
    schedule = streaming(attention(queries=3, keys=4, head_dim=8, causal=False), MACHINE)
    assert schedule.recomputed == {"exp": 12, "flop": 12 * (3 + 2 + 8) + 3 * 8}
