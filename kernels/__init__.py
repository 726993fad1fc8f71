"""Numeric algorithms beside their PyTorch references: arrays in, arrays out.

PAIRS, in kernels/pairs.py, lists them all; it is loaded when it is asked for, since the references load PyTorch. No
hardware, no time, no files but recordings of retrieval.
"""

from typing import Any

__all__ = ["PAIRS", "Pair"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kernels import pairs

        return getattr(pairs, name)
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")
