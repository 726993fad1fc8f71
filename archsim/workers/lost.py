"""Lost: what stands in the place of an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lost:
    """In the place of an answer: why there is none."""

    problem: str
