"""Every algorithm of kernels.PAIRS equals its reference over drawn shapes, and its docstring examples are true."""

import dataclasses
import doctest
import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

MODULES = ["kernels", *(f"kernels.{module.name}" for module in pkgutil.iter_modules(kernels.__path__))]


def arrays(result: Any) -> list[np.ndarray]:
    if dataclasses.is_dataclass(result):
        result = tuple(getattr(result, field.name) for field in dataclasses.fields(result))
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


def check(pair: kernels.Pair, seed: int, size: int) -> None:
    arguments = pair.inputs(np.random.default_rng(seed), size)
    expected, found = arrays(pair.reference(**arguments)), arrays(pair.algorithm(**arguments))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if pair.tolerance == 0:
            np.testing.assert_array_equal(a, b)
        else:
            largest = max(1.0, float(np.abs(b).max()))
            np.testing.assert_allclose(a, b, rtol=0, atol=pair.tolerance * largest, err_msg=pair.reason)


@pytest.mark.parametrize("pair", kernels.PAIRS, ids=lambda pair: pair.name)
def test_algorithm_equals_reference_over_drawn_shapes(pair: kernels.Pair) -> None:
    examples = 4 if pair.name == "pack_loader" else 20

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 40))
    def drawn(seed: int, size: int) -> None:
        check(pair, seed, size)

    check(pair, 0, 1)
    drawn()


@pytest.mark.parametrize("pair", kernels.PAIRS, ids=lambda pair: pair.name)
def test_arguments_are_left_as_they_were(pair: kernels.Pair) -> None:
    arguments, copy = (pair.inputs(np.random.default_rng(3), 5) for _ in range(2))
    pair.algorithm(**arguments)
    for name, value in arguments.items():
        for a, b in zip(arrays(value), arrays(copy[name]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_pair_names_are_unique_and_reasons_are_given() -> None:
    assert len({pair.name for pair in kernels.PAIRS}) == len(kernels.PAIRS)
    assert all(pair.reason for pair in kernels.PAIRS)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    missed = [
        thing.__name__
        for thing in vars(module).values()
        if getattr(thing, "__module__", "") == name and callable(thing) and not thing.__doc__
        if not thing.__name__.startswith("_")
    ]
    assert missed == []
    assert doctest.testmod(module).failed == 0
