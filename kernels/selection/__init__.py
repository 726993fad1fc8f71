"""Selection: which tokens of a K and V cache a chunk of queries attends to, by one of several rules, exactly counted.

ALGORITHMS lists the rules by the name of their source. No hardware, no time, no files except recorded streams and
selections. Each layer has its own state; the operations of a step are state.counts + kept.counts:

>>> from kernels.selection.streams import video_stream
>>> stream = video_stream(0, 8, heads=4, kv_heads=2, head_dim=16)
>>> state = start(stream.shape, ALGORITHMS["quest"](page=10, pages=2))
>>> for keys, queries in stream.frames():
...     state = update(state, keys, queries=queries)
...     kept = select(state, queries[-1:])
>>> kept.mask.shape, int(kept.mask[0].sum()), kept.counts.metadata_read_bytes, state.metadata_bytes
((4, 80), 20, 1024, 1024)
"""

from kernels.selection.accumulated import HeavyHitters
from kernels.selection.algorithm import (
    Algorithm,
    CacheShape,
    Counters,
    SelectedKeys,
    State,
    select,
    start,
    update,
    walk,
)
from kernels.selection.blocks import BlockMeans, FrameMeans
from kernels.selection.clusters import HashClusters
from kernels.selection.columns import HighestScores, LabelChannels, PartialColumns
from kernels.selection.pages import GatedPages, PageBounds
from kernels.selection.positions import Everything, GatedHeads, SinkWindow

__all__ = [
    "ALGORITHMS", "Algorithm", "CacheShape", "Counters", "SelectedKeys", "State", "select", "start", "update", "walk",
]  # fmt: skip

ALGORITHMS = {
    "full": Everything,
    "topk": HighestScores,
    "streaming_llm": SinkWindow,
    "duo_attention": GatedHeads,
    "h2o": HeavyHitters,
    "quest": PageBounds,
    "infllm": BlockMeans,
    "rekv": FrameMeans,
    "infinigen": PartialColumns,
    "double_sparsity": LabelChannels,
    "lserve": GatedPages,
    "resv": HashClusters,
}
