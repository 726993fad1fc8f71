"""Repeated layers: a graph's ops in order, with equal layers given once and the scopes of all of them.

Knows layers by the names of ops. Does not know units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby

from archsim.errors import MappingError
from dataflow.graph import Op
from dataflow.op import OP_KINDS

LAYER = re.compile(r"((.*?)\d+\.)?(.*)", re.DOTALL)  # scope "vision.layer3.", family "vision.layer", name within

Group = tuple[list[Op], tuple[str, ...]]  # ops, and the scopes under which they repeat


def layers_of(ops: Iterable[Op]) -> list[Group]:
    """The ops that units do, in order: (ops outside layers, ("",)), or (the first layer's ops, scopes of all layers).

    An op of layer 3 is named "layer3.q" or "vision.layer3.q". Raises MappingError where layers of a family differ.

    >>> from dataflow import attention
    >>> [(len(ops), scopes) for ops, scopes in layers_of(attention(queries=1, keys=2, head_dim=4).ops.values())]
    [(1, ('',))]
    """
    needing_units = [op for op in ops if not OP_KINDS[op.kind].free]
    groups: list[Group] = []
    # groupby joins neighbours only, so groups keep the order of the graph: vision layers, then decoder layers.
    for family, members in groupby(needing_units, key=lambda op: _parts(op.name)[1]):
        group = list(members)
        groups.append((group, ("",)) if family is None else _layers(group))
    return groups


def name_within(op: Op) -> str:
    """The op's name within its layer; the full name of an op outside layers."""
    return _parts(op.name)[2]


def scope_of(op: Op) -> str:
    """The scope of the layer that the op is in, such as "layer3."; empty for an op outside layers."""
    return _parts(op.name)[0] or ""


def key_of(op: Op, scopes: Sequence[str]) -> str:
    """What a mapping calls the op: its name, or a pattern for all layers in which it repeats."""
    return op.name if len(scopes) == 1 else f"{scopes[0].rstrip('0123456789.')}*.{name_within(op)}"


@lru_cache(maxsize=1 << 16)  # a model has some hundred names, which every step of a generation asks for
def _parts(name: str) -> tuple[str | None, str | None, str]:
    """Scope and family of the layer that an op of this name is in, if any, and its name within."""
    matched = LAYER.fullmatch(name)
    assert matched is not None, "every name is a scope, or none, and a rest"
    scope, family, within = matched.groups()
    return scope, family, within


def _layers(ops: list[Op]) -> Group:
    """The first layer of a family, and the scopes of all its layers, which must be alike."""
    by_scope = {scope: list(members) for scope, members in groupby(ops, key=lambda op: str(_parts(op.name)[0]))}
    first, layer = next(iter(by_scope.items()))
    expected = [(name_within(op), op.work) for op in layer]
    # One section stands for all layers, so every op must have the same work in each of them.
    for scope, layer_ops in by_scope.items():
        if [(name_within(op), op.work) for op in layer_ops] != expected:
            raise MappingError(
                f"the ops of '{scope}' differ from those of '{first}'; layers that repeat are alike",
                ways_out=("op names without a number and a dot, which are run one by one",),
            )
    return layer, tuple(by_scope)
