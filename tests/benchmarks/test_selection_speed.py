"""How long the choice of each rule takes over a long cache: 32 layers' worth of one frame, and a frame's simulation.

The 32 choices are those of the last frames up to 40,000 tokens, one after another: a layer's own cache only grows, and
an older state of one would be copied when it is asked again.

`pytest tests/benchmarks --benchmark-enable --benchmark-only`; both of the machine's cores where a rule is parallel.
"""

import pytest

import archsim
from dataflow import frame
from kernels.selection import ALGORITHMS, rule
from kernels.selection.algorithm import CacheShape, select, start, update
from kernels.selection.streams import video_stream
from mappers.registry import lower

LAYERS, TOKENS, FRAME = 32, 40_000, 10
PART = 1000  # tokens that a rule takes at once while the cache is filled, which is not timed


@pytest.fixture(scope="module")
def stream():
    return video_stream(0, TOKENS // FRAME, heads=32, kv_heads=8, head_dim=128)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_32_layers_of_a_frame(benchmark, stream, name):
    shape = CacheShape(TOKENS, 32, 8, 128)
    state = start(shape, rule(name)())
    before = TOKENS - LAYERS * FRAME
    for first in range(0, before, PART):
        end = min(first + PART, before)
        state = update(state, stream.keys[first:end], queries=stream.queries[end - FRAME : end])

    def frames():
        grown = state
        for first in range(before, TOKENS, FRAME):
            queries = stream.queries[first : first + FRAME]
            grown = update(grown, stream.keys[first : first + FRAME], queries=queries)
            select(grown, queries)

    benchmark.pedantic(frames, warmup_rounds=1, rounds=3)


def test_a_frame_of_the_whole_model(benchmark):
    """The choice made once, as for a hardware variant: graph, lowering and simulation."""
    design, model = archsim.load_design("vrex8"), archsim.load_model("videollm_online_8b")
    selection = archsim.load_selection("resv")

    def run():
        return archsim.simulate(lower(frame(model, context=TOKENS), design, selection=selection), design)

    assert benchmark(run).cycles > 0
