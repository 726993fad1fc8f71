"""Numeric algorithms beside their PyTorch references: arrays in, arrays out.

PAIRS, in kernels/pairs.py, lists them all. No hardware, no time, no files except recordings of keys and queries.
"""

# One of the packages of archsim.

from typing import Any

__all__ = ["PAIRS", "Pair"]


def __getattr__(name: str) -> Any:
    # Not at the top of the file: pairs imports every kernel and its reference, which one algorithm does not need.
    if name in __all__:
        from kernels import pairs

        return getattr(pairs, name)
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")
