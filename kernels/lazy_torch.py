"""PyTorch for the references, imported when a reference first uses it.

Algorithms share files with their references, so this keeps them usable where PyTorch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["torch"]


class _Torch:
    """Looks each name up in PyTorch. Raises ImportError where PyTorch cannot be imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by tools that inspect every object, such as doctest
            raise AttributeError(name)
        try:
            module = import_module("torch")
        except ImportError as error:
            raise ImportError("the references need PyTorch: pip install torch") from error
        return getattr(module, name)


# A type checker sees the real module, so that references are checked and torch.Tensor is a type.
if TYPE_CHECKING:
    import torch
else:
    torch = _Torch()
