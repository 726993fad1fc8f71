"""The spatial mapper: as many ops in a section as fit, each on tiles of its own, their rows passing in tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from archsim.design.design import Design
from archsim.engine.flat import flatten
from archsim.errors import MappingError
from archsim.mapping import Choices, Mapping
from archsim.run.bound import section_bound
from archsim.units import Node
from dataflow.graph import Graph
from dataflow.role import Role
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from mappers.build.checks import check_no_fifos
from mappers.build.layers import layers_of
from mappers.build.lying import lay, stored_by_home
from mappers.build.op_builder import IDEAL
from mappers.build.placement import homes_of
from mappers.mapper import Mapper, option, options_of
from mappers.spatial.fabric import Fabric, fabric_of
from mappers.spatial.fit import refuse_misfits
from mappers.spatial.fitting import Fitting
from mappers.spatial.laying import Laying
from mappers.spatial.nodes import Form, Heads, lower_on_nodes
from mappers.spatial.reading import Reading
from mappers.spatial.sharing import TOLD, sharing_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Spatial(Mapper):
    """Any graph, its ops side by side on tiles of a fabric, joined by streams of tokens, cut into sections that fit.

    An op is a stage, attention three; a token is some rows. Stages get tiles so that tokens pass soonest, streams the
    places that tokens take while they are under way. Weights come once for a section, or again with each token where
    they do not fit, or with the only one; those of the next section inside the section before, as far as they fit.
    On a design of nodes attention alone is laid out, and a token is an element.
    Raises MappingError for a design without tiles or nodes, and for what does not fit them.
    """

    name: ClassVar[str] = "spatial"

    mapping: Mapping | None = option(
        "which ops stand together, on how many tiles; the design's own unless given", default=None
    )

    form: Form = option("on nodes: the algorithm of attention, a name of dataflow.CASCADES", default="memory_free")
    heads: Heads = option(
        "on nodes: a pipeline for each head of each sequence, or one for all, one after another", default="parallel"
    )

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule; its option `mapping` is the one in force, with all that was chosen."""
        if design.of_kind(Node):
            self._check_mapping(design)
            return lower_on_nodes(graph, design, form=self.form, heads=self.heads, mapper=self.name)
        self._check_options()
        check_no_fifos(design)
        given = self.mapping or design.own_mapping(graph.name)
        fabric = fabric_of(design, sharing_of(graph, design))
        groups = layers_of(graph.ops.values())
        refuse_misfits(given, graph, groups, own=self.mapping is None)
        stored, _ = stored_by_home(graph, design, groups, unit_of=lambda op: fabric.compute)
        fitting = Fitting(graph, fabric, given, Reading(graph))
        laying = Laying(fitting)
        made = [found for ops, scopes in groups for found in laying.group(ops, scopes)]
        # What streams carry lies in no other memory.
        passing = graph.ops.keys() - laying.kept
        lying = lay(graph, design, groups, stored, passing=passing)
        sections = []
        for section, ops, scopes, beside in made:
            holds = dict(lying.during(ops, scopes))
            for place, size in beside.items():
                holds[place] = holds.get(place, 0) + size
            sections.append(replace(section, holds=holds))
        return Schedule(
            graph, design.name, self.name, tuple(sections), holds=stored,
            options={"mapping": given.laid_out(laying.entries, laying.together)},
            skipped=(Skipped(IDEAL, dict(laying.ideal)),) if laying.ideal.total() else (),
            approximated=tuple(_told(fabric, laying)),
        )  # fmt: skip

    def _check_mapping(self, design: Design) -> None:
        """Raises MappingError for a mapping that says more than its order: on nodes there is no more to say."""
        said = self.mapping.document if self.mapping else design.document
        written = said.data if self.mapping else said.data.get("mapping") or {}
        # A design's own mapping has what every design starts from.
        own = design.own_mapping("").document.data if self.mapping else {"order": "space"}
        changed = [name for name in written if written[name] not in ({}, own.get(name))]
        if more := [name for name in changed if name in Choices.model_fields]:
            path = more[0] if self.mapping else f"mapping.{more[0]}"
            told = said.problem(path, "on nodes each expression has a node of its own, and `fifos` gives depths")
            raise MappingError(told, ways_out=("mapping: {order: space}, and no more",))

    def _check_options(self) -> None:
        """Raises MappingError for options of designs whose tokens are elements."""
        defaults = {name: one.default for name, one in options_of(type(self)).items()}
        for name in ("form", "heads"):
            if (value := getattr(self, name)) != defaults[name]:
                told = f"'{value}'; tokens of this design are rows, and attention on its tiles has three passes"
                raise MappingError(told, where=f"option {name}", ways_out=("a design of nodes",))

    def loops(self, graph: Graph, design: Design) -> list[str]:
        """As Mapper.loops: for each section the tiles of its stages, and the cycles that it takes at least."""
        if design.of_kind(Node):
            return []
        return [line for section in self.lower(graph, design).sections for line in _lines(section, design)]

    def settled(self, last: Schedule) -> Spatial:
        """As Mapper.settled: steps are planned once, for the one with the longest context."""
        return replace(self, mapping=last.options["mapping"])


def _lines(section: Section, design: Design) -> Iterator[str]:
    stages, names = [task for task in section.tasks if task.serves], {task.name for task in section.tasks}
    taken: Counter[str] = Counter()
    for task in stages:
        taken[task.unit] += task.servers
    for stream in section.streams:
        if stream.tiles:
            taken[stream.memory] += stream.tiles
    used = ", ".join(f"{n:,} of {design.units[unit].count:,} {unit}" for unit, n in taken.items())
    times = f" x {section.repeat}" if section.repeat > 1 else ""
    yield f"{section.name}{times}: {used}; at least {section_bound(flatten(section, design)):,} cycles"
    for task in stages:
        held = f"{task.name} in tiles" in names
        ahead = ", its matrix comes in the section before" if held else ""
        yield f"  {task.name}: {task.servers:,} {task.unit}, {task.firings:,} firings{ahead}"


def _told(fabric: Fabric, laying: Laying) -> Iterator[str]:
    yield "attention takes the whole rectangle of queries and keys: what a mask hides is not skipped"
    if not homes_of(fabric.design, Role.ACTIVATION):
        yield "activations have no home: what passes between sections moves no bytes"
    if fabric.mesh:
        yield "streams pass the mesh as whole tokens, behind the stage that makes them"
    else:
        yield "the design has no mesh: streams pass from stage to stage in no time"
    yield "a multiply-add of a tile makes one product a cycle in every format"
    yield from TOLD if fabric.sockets > 1 else ()
    yield from dict.fromkeys(laying.told)
