"""Selection: which tokens of a K and V cache a chunk of queries attends to, by one of several rules, exactly counted.

ALGORITHMS lists the rules by the name of their source; knowing the names imports none of them. No hardware, no time, no
files except recorded streams and selections. Each layer has its own state; the operations of a step are
state.counts + kept.counts:

>>> from kernels.selection.algorithm import select, start, update
>>> from kernels.selection.streams import video_stream
>>> stream = video_stream(0, 8, heads=4, kv_heads=2, head_dim=16)
>>> state = start(stream.shape, rule("quest")(page=10, pages=2))
>>> for keys, queries in stream.frames():
...     state = update(state, keys, queries=queries)
...     kept = select(state, queries[-1:])
>>> kept.mask.shape, int(kept.mask[0].sum()), kept.counts.metadata_read_bytes, state.metadata_bytes
((4, 80), 20, 1024, 1024)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels.selection.algorithm import Algorithm

__all__ = ["ALGORITHMS", "rule"]

# As "module:class", because the modules compile code and the command line needs only the names.
ALGORITHMS: dict[str, str | type[Algorithm]] = {
    "full": "kernels.selection.positions:Everything", "topk": "kernels.selection.columns:HighestScores",
    "streaming_llm": "kernels.selection.positions:SinkWindow",
    "duo_attention": "kernels.selection.positions:GatedHeads", "h2o": "kernels.selection.accumulated:HeavyHitters",
    "quest": "kernels.selection.pages:PageBounds", "infllm": "kernels.selection.blocks:BlockMeans",
    "rekv": "kernels.selection.blocks:FrameMeans", "infinigen": "kernels.selection.columns:PartialColumns",
    "double_sparsity": "kernels.selection.columns:LabelChannels", "lserve": "kernels.selection.pages:GatedPages",
    "resv": "kernels.selection.clusters:HashClusters",
}  # fmt: skip


def rule(name: str) -> type[Algorithm]:
    """Return the class of a rule in ALGORITHMS, where an entry is a class or "module:class". Raises KeyError.

    >>> rule("topk")(tokens=3)
    HighestScores(tokens=3)
    """
    entry = ALGORITHMS[name]
    if not isinstance(entry, str):
        return entry
    module, _, named = entry.partition(":")
    found: type[Algorithm] = getattr(import_module(module), named)
    return found
