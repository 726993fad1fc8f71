"""Does everything that is named keep its contract: kinds of units, op kinds, phases, mappers, and what --with adds?

`pytest tests/contracts --with my_design.py` runs the additions of a file through the same functions.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field

from archsim.quantity import Count
from archsim.units import KINDS, Unit
from contracts import kinds, mappers, ops, phases
from dataflow import OP_KINDS, PHASES, Decode
from dataflow.kinds.rules import rowwise, same_shape
from mappers import MAPPERS, extend
from mappers.tiled.mapper import Tiled


def each(contracts, names):
    cases = [(contract, name) for name in names for contract in contracts]
    return pytest.mark.parametrize("contract, name", cases, ids=[f"{name}-{c.__name__}" for c, name in cases])


@each(kinds.CONTRACTS, sorted(KINDS))
def test_a_kind_of_unit(contract, name):
    contract(name)


@each(ops.CONTRACTS, OP_KINDS)
def test_an_op_kind(contract, name):
    contract(name)


@each(phases.CONTRACTS, PHASES)
def test_a_phase(contract, name):
    contract(name)


@each(mappers.CONTRACTS, MAPPERS)
def test_a_mapper(contract, name):
    contract(name)


class Shrinking(Unit):
    """Takes fewer cycles for more comparisons, and does not read its width."""

    kinds: ClassVar = ("compare",)

    kind: Literal["shrinking"]
    width: Count = Field(description="read by nothing")

    def _cycles(self, work):
        return max(0, 9 - work["comparisons"])


def mean_of_a_tile(x, box):
    part = x.inputs[0][box[0].start : box[0].stop, box[1].start : box[1].stop]
    return part - part.mean(axis=1, keepdims=True) if part.size else np.zeros(part.shape, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnotherStep(Decode):
    """Says that its graph is of another context."""

    name: ClassVar[str] = "another"

    def graph(self, model):
        graph = Decode(context=self.context, batch=self.batch).graph(model)
        return replace(graph, phase=AnotherStep(context=self.context + 1, batch=self.batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstHalf(Tiled):
    """Leaves the last sections out."""

    name: ClassVar[str] = "first_half"

    def lower(self, graph, design):
        whole = Tiled.lower(self, graph, design)
        return replace(whole, sections=whole.sections[:-1])


BREACHES = [
    (kinds.takes_no_fewer_cycles_for_more, "shrinking"),
    (kinds.feels_each_of_its_numbers, "shrinking"),
    (ops.has_tiles_that_make_the_whole, "centred"),
    (phases.is_the_phase_of_its_graphs, "another"),
    (mappers.conserves_the_work_of_the_graph, "first_half"),
    (mappers.serves_every_op_with_work, "first_half"),
]


@pytest.mark.parametrize("contract, name", BREACHES, ids=[c.__name__ for c, _ in BREACHES])
def test_a_breach_is_seen(contract, name, added):
    centred = rowwise("less its mean", flop=2, shape=same_shape(1), tile=mean_of_a_tile)
    extend(kinds=[Shrinking], ops={"centred": centred}, phases=[AnotherStep], mappers=[FirstHalf])
    with pytest.raises(AssertionError):
        contract(name)
