"""Ops that repeat: the runs of a graph's ops that are one after another, and those that layers have alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from archsim.errors import MappingError
from dataflow.graph import Op
from dataflow.op import OP_KINDS

LAYER = re.compile(r"(.*?)\d+\.")  # the family of layers that an op's name begins with, and which of them

Group = tuple[list[Op], tuple[str, ...]]


def groups(ops: Iterable[Op]) -> list[Group]:
    """The ops that units do, in order: (ops that stand alone, ("",)), or (those of a first layer, every layer's scope).

    An op of layer 3 is named "layer3.q" or "vision.layer3.q". Raises MappingError where layers of a family differ.

    >>> from dataflow import attention
    >>> [(len(ops), scopes) for ops, scopes in groups(attention(queries=1, keys=2, head_dim=4).ops.values())]
    [(1, ('',))]
    """
    done = [op for op in ops if not OP_KINDS[op.kind].free]
    found: list[Group] = []
    for family, members in groupby(done, key=_family):
        mine = list(members)
        found.append((mine, ("",)) if family is None else _layers(mine))
    return found


def name_within(op: Op) -> str:
    """The op's name within its layer: the whole one of an op that stands alone."""
    named = LAYER.match(op.name)
    return op.name[named.end() :] if named else op.name


def _family(op: Op) -> str | None:
    named = LAYER.match(op.name)
    return named[1] if named else None


def _scope(op: Op) -> str:
    named = LAYER.match(op.name)
    assert named is not None
    return named[0]


def _layers(ops: list[Op]) -> Group:
    by_scope = {scope: list(members) for scope, members in groupby(ops, key=_scope)}
    first, layer = next(iter(by_scope.items()))
    for scope, mine in by_scope.items():
        if list(_alike(mine)) != list(_alike(layer)):
            raise MappingError(
                f"the ops of '{scope}' differ from those of '{first}'; layers that repeat are alike",
                ways_out=("op names without a number and a dot, which are run one by one",),
            )
    return layer, tuple(by_scope)


def _alike(ops: list[Op]) -> Iterator[tuple[str, object]]:
    return ((name_within(op), op.work) for op in ops)
