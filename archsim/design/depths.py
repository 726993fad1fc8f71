"""The values of a design that give queues their depths, and what to write there for another depth.

Knows links and FIFOs by name. Does not know how long anything takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from archsim.design.design import Design
from dataflow.task import Stream


class DepthSetting(NamedTuple):
    """A value of the design: its path, how many of its tokens a place of the stream holds, and places beside it.

    Places beside a link are those of the registers of the unit that fills it.
    """

    path: str
    tokens: int
    beside: int

    def value(self, depth: int) -> int:
        """What to write for a stream of this depth."""
        return max(1, depth * self.tokens - self.beside)

    def depth(self, value: int) -> int:
        """The depth of the stream where this is written."""
        return (value + self.beside) // self.tokens


def setting_of(design: Design, stream: Stream) -> DepthSetting | None:
    """The setting that gives the stream its depth; None where the mapper does."""
    if stream.fifo in design.links:
        link = design.links[stream.fifo]
        tokens = max(1, 8 * stream.bytes_per_token // int(link.token_bits))
        return DepthSetting(f"links.{stream.fifo}.depth", tokens, int(design.units[link.from_].latency_cycles))
    if design.fifos and not stream.fifo:
        # Pipelines that run side by side have one FIFO of each name.
        return DepthSetting(f"fifos.{stream.name.rpartition(': ')[2]}", 1, 0)
    return None


def settings(design: Design, depths: Mapping[Stream, int]) -> dict[str, int]:
    """What to write in the design so that each of these streams gets its depth, or one that is deeper."""
    found: dict[str, int] = {}
    for stream, depth in depths.items():
        setting = setting_of(design, stream)
        if setting is not None:
            found[setting.path] = max(found.get(setting.path, 0), setting.value(depth))
    return dict(sorted(found.items()))  # whatever the order in which a section lists its streams


def as_options(values: Mapping[str, int]) -> str:
    """The values as options of the command line.

    >>> as_options({"links.int8.depth": 64, "fifos.exp > sum": 3})
    "--set links.int8.depth=64 --set 'fifos.exp > sum=3'"
    """
    written = [f"{path}={value}" for path, value in values.items()]
    return " ".join(f"--set '{one}'" if " " in one else f"--set {one}" for one in written)
