"""What can be said of a file before anything runs: its problems, and notes on what is surely unintended."""

from __future__ import annotations

from collections.abc import Callable, Collection
from collections.abc import Mapping as Entries

from archsim.design.design import Design
from archsim.design.placement import DEFAULT
from archsim.design.silicon import Silicon
from archsim.design.technology import Technology, load_technology
from archsim.design.use_told import factors, shown
from archsim.errors import DesignError, InputError, quoted
from archsim.files.data_folder import NOUNS, shipped
from archsim.files.provenance import Fitted
from archsim.files.shipped import found, load_model
from archsim.files.validate import validate
from archsim.importers.load import is_configuration, is_topology, load_design, load_workload
from archsim.mapping import Choices, Mapping, load_mapping
from archsim.published import Published
from archsim.quantity import show, show_limit
from archsim.selection.selection import Selection, load_selection
from archsim.sweep_file import SweepFile
from archsim.units import KINDS, CoreArray, TableLookup, WeightBuffer, WeightLoader
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.models.phases import PHASES
from dataflow.op import OP_KINDS, OpKind
from dataflow.phase import Phase, asked_by, flag
from kernels.selection import ALGORITHMS, rule

LISTS = (
    "designs", "models", "selections", "mappings", "published", "technologies", "kinds", "ops", "phases",
    "rules", "mappers",
)  # fmt: skip



def check_file(
    name: str,
    *,
    mappers: Collection[str],
    mapped: Collection[str] = (),
    sweeps: Callable[[SweepFile], list[str]] | None = None,
) -> list[str]:
    """Lines about a design, a model, a selection, a mapping, a published file, a sweep or one of SCALE-Sim's files.

    `mappers` are those that a design may name, `mapped` those of them that take a mapping; `sweeps` looks into a sweep.
    Raises InputError with every problem.
    """
    if is_configuration(name):
        return _about_design(load_design(name), mappers, mapped)
    if is_topology(name):
        return _about_graph(name, load_workload(name))
    folder = next((folder for folder in NOUNS.values() if name in shipped(folder)), "")
    # Read once, for it may be a pipe.
    document = found(name, folder, "design, model, selection, mapping, published or sweep file")
    data = document.data
    if "units" in data or "clock" in data:
        return _about_design(Design.read(document), mappers, mapped)
    if "over" in data:
        swept = SweepFile.of(document)
        return [f"{document.path}: {line}" for line in sweeps(swept)] if sweeps else []
    if "points" in data:
        published = validate(document, Published)
        return [f"{document.path}: {len(published.points)} published points of '{published.design}'"]
    if "layers" in data or "hidden" in data:
        model = validate(document, Model)
        return [f"{document.path}: model '{model.name}', {model.parameters:,} parameters", *_sources(model.assumed, {})]
    if "multiply" in data or "sram" in data:
        return _about_technology(document.path, validate(document, Technology))
    if "algorithm" in data:
        return _about_selection(Selection.read(document))
    if any(key in data for key in ("version", *Choices.model_fields)):
        return _about_mapping(Mapping.read(document))
    kinds = "a design (units), a model (layers), a selection (algorithm), a mapping (version), a sweep (over)"
    raise DesignError(f"{document.path}:1: neither {kinds} nor published figures (points)")


def _about_graph(path: str, graph: Model | Graph) -> list[str]:
    assert isinstance(graph, Graph), "a topology is a graph"
    lines = [f"{path}: graph '{graph.name}', {len(graph.ops)} ops, {graph.counts().get('mac', 0):,} multiply-adds"]
    return lines + [f"  simplified {told}" for told in graph.approximated]


def _about_selection(selection: Selection) -> list[str]:
    kept = ", ".join(f"{use} {share:.1%}" for use, share in (selection.kept or {}).items())
    chosen = f"keeps {kept} as given" if kept else "keeps what the rule decides"
    lines = [f"{selection.document.path}: selection '{selection.name}', {selection.algorithm}, {chosen}"]
    lines += [f"  {path} {value}" for path, value in selection.settings.items()]
    return lines + _sources(selection.assumed, selection.fitted)


def _about_technology(path: str, technology: Technology) -> list[str]:
    lines = [f"{path}: technology '{technology.name}', energies of {technology.source}"]
    for what, table in (("add", technology.add), ("multiply", technology.multiply)):
        lines.append(f"  {what:<9} " + ", ".join(f"{name} {show(each, 'energy')}" for name, each in table.items()))
    accesses = {**{f"sram of {size}": each for size, each in technology.sram.items()}, **technology.memories}
    lines.append("  64 bit    " + ", ".join(f"{name} {show(each, 'energy')}" for name, each in accesses.items()))
    return lines + _sources(technology.assumed, {})


def _about_mapping(mapping: Mapping) -> list[str]:
    lines = [f"{mapping.document.path}: mapping '{mapping.name}', {len(mapping.ops)} ops; {mapping.source}"]
    lines += _about_choices(mapping)
    for key, one in mapping.ops.items():
        tile = ", ".join(f"{axis} {size}" for axis, size in one.tile.items())
        many = "" if one.servers in (None, 1) else f"{one.servers} servers of "
        said = [f"on {many}{one.unit}" if one.unit else "", f"tiles of {tile}" if tile else ""]
        said.append(f"loops {' > '.join(one.order)}" if one.order else "")
        lines.append(f"  {key:<14} {'; '.join(filter(None, said)) or 'nothing said'}")
    return lines + _sources(mapping.assumed, mapping.fitted)


def _about_choices(said: Choices) -> list[str]:
    """What is said of all ops, and the groups that run together."""
    tile = said.tile if isinstance(said.tile, str) else ", ".join(f"{axis} {size}" for axis, size in said.tile.items())
    if said.order == "space":
        how = f"sections {said.sections}; loop {said.loop}; buffers {said.buffers}; ahead {said.ahead}"
    else:
        how = f"tile {tile}; buffers {said.buffers}; ahead {said.ahead}; least {said.cost}"
    lines = [f"  order {said.order}; {how}"]
    for group in said.fuse:
        parts = [f"{size} {what}" for size, what in ((group.rows, "rows"), (group.columns, "columns")) if size]
        lines.append(f"  fused {', '.join(group.ops)}" + (f": {' x '.join(parts)}" if parts else ""))
    return lines


def _about_design(design: Design, mappers: Collection[str], mapped: Collection[str]) -> list[str]:
    if design.mapper is not None and design.mapper not in mappers:
        known = ", ".join(mappers)
        raise DesignError(design.document.problem("mapper", f"unknown mapper {design.mapper!r}; mappers are: {known}"))
    if design.mapping is not None and design.mapper is not None and design.mapper not in mapped:
        told = f"mapper {design.mapper!r} takes no mapping; mappers that take one: {', '.join(mapped)}"
        raise DesignError(design.document.problem("mapping", told))
    lines = [f"{design.document.path}: design '{design.name}', {len(design.units)} units, {len(design.links)} links"]
    if design.resources:
        for resource, budget in design.resources.budget.items():
            used = design.used(resource)
            lines.append(f"  {resource:<8} {'not known' if used is None else shown(used):>10} of {shown(budget)}")
        lines += _about_use(design)
    if design.silicon:
        lines += _about_silicon(design.silicon, design.cores)
    if design.mapping:
        lines += _about_choices(design.mapping)
    if design.tiers:
        lines.append(f"  tiers {' > '.join(design.tiers)}")
    for unit, by_role in design.paths.items():
        for role, path in by_role.items():
            of_role = "" if role == DEFAULT else f" ({role})"
            lines.append(f"  path {unit + of_role}: {' > '.join(path) or 'an ideal memory, no bytes are counted'}")
    lines += [f"  home {role}: {', then '.join(memories)}" for role, memories in design.home.items()]
    for name, link in design.links.items():
        lines.append(f"  link {name:<14} {link.from_} > {link.to}: {link.depth} x {link.token_bits} bit")
    lines += [f"  FIFOs {name:<13} {show_limit(depth)} tokens deep" for name, depth in design.fifos.items()]
    lines += [f"  simplified {told}" for told in design.simplified()]
    lines += _sources(design.assumed, design.fitted)
    return lines + [f"  note: {note}" for note in _notes(design)]


def _about_use(design: Design) -> list[str]:
    """How far the formulas, by which the use of a variant is scaled, are from the build."""
    found: dict[str, list[str]] = {}
    for name, resource, factor in factors(design.use) if design.use else ():
        found.setdefault(name, []).append(f"{resource} {float(factor):.2f}")
    end = "times its formula, by which variants are scaled"
    return [f"  built {name:<13} {', '.join(told)} {end}" for name, told in found.items()]


def _about_silicon(silicon: Silicon, cores: int | str | None) -> list[str]:
    each = f"{show(silicon.core_area, 'area')} and {show(silicon.core_power, 'power')}"
    if isinstance(cores, int):
        whole = f"{show(cores * silicon.core_area, 'area')} and {show(cores * silicon.core_power, 'power')}"
        lines = [f"  silicon {cores} cores of {each}: {whole}"]
    else:
        lines = [f"  silicon cores of {each} as published; how many there are is not known, as {cores}"]
    if silicon.retrieval:
        of_area, of_power = silicon.retrieval_area_share, silicon.retrieval_power_share
        shares = f"{float(of_area):.1%} of the area, {float(of_power):.1%} of the power"
        lines.append(f"  silicon of {', '.join(silicon.retrieval)}: {shares}")
    return lines


def _sources(assumed: Entries[str, str], fitted: Entries[str, Fitted]) -> list[str]:
    lines = [f"  assumed {path}: {why}" for path, why in assumed.items()]
    return lines + [f"  fitted {path}: {entry.reason} (to {entry.point})" for path, entry in fitted.items()]


def _notes(design: Design) -> list[str]:
    """What is legal but surely unintended."""
    notes = [
        f"links.{name}.depth: a queue of depth 1 between two busy units never lets them overlap; 2 does"
        for name, link in design.links.items()
        if link.depth == 1
    ]
    for name, buffer in design.of_kind(WeightBuffer).items():
        for engine, lookup in design.of_kind(TableLookup).items():
            if 2 * buffer.banks != lookup.readers_per_table:
                notes.append(
                    f"units.{name}.banks: {buffer.banks} banks of two ports serve {2 * buffer.banks} look-ups a cycle, "
                    f"units.{engine}.readers_per_table asks {lookup.readers_per_table}"
                )
    for engine, lookup in design.of_kind(TableLookup).items():
        for name, loader in design.of_kind(WeightLoader).items():
            if lookup.block_inputs % loader.block_inputs:
                notes.append(
                    f"units.{engine}.num_tables: {lookup.num_tables} tables take {lookup.block_inputs} inputs, index "
                    f"vectors of units.{name} hold {loader.block_inputs}; tables that fill no whole vector stay idle"
                )
    if design.silicon and design.silicon.cores is not None:
        notes += [
            f"units.{name}.cores: {unit.cores}, silicon.cores: {design.silicon.cores}; area and power are of the latter"
            for name, unit in design.of_kind(CoreArray).items()
            if unit.cores != design.silicon.cores
        ]
    for i, placing in enumerate(design.place):
        kinds = placing.kinds or design.units[placing.unit].does
        if not any(sum(kind in unit.does for unit in design.units.values()) > 1 for kind in kinds):
            told = ", ".join(kinds)
            notes.append(f"place.{i}: decides nothing, because '{placing.unit}' alone does {told}")
    if set(design.assumed) & set(design.fitted):
        notes.append("a path stands under both assumed and fitted")
    return notes


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").strip().partition("\n")[0]


def _about_op(name: str, kind: OpKind) -> list[str]:
    needs = "" if kind.shape else "; only mappers schedule it"
    free = f"; needs no unit: {kind.free}" if kind.free else ""
    return [f"{name:<18} ({', '.join(kind.extents)}) {kind.meaning}{needs}{free}"]


def _about_phase(phase: type[Phase]) -> list[str]:
    lines = [f"{phase.name:<18} {_first_line(phase)}"]
    return lines + [f"  {flag(name):<17} {meaning}" for name, meaning in asked_by(phase).items()]


def listing(what: str, *, mappers: list[str]) -> list[str]:
    """The names of what there is, a line each; `mappers` are the lines of the mappers.

    Raises InputError on anything but the known lists.
    """
    if what == "designs":
        return [f"{name:<20} {load_design(name).source}" for name in shipped()]
    if what == "models":
        return [f"{name:<20} {load_model(name).parameters:,} parameters" for name in shipped("models")]
    if what == "selections":
        return [f"{name:<28} {load_selection(name).source}" for name in shipped("selections")]
    if what == "mappings":
        return [f"{name:<28} {load_mapping(name).source}" for name in shipped("mappings")]
    if what == "technologies":
        return [f"{name:<28} {load_technology(name).source}" for name in shipped("technologies")]
    if what == "published":
        return list(shipped("published"))
    if what == "kinds":
        return [f"{name:<18} {_first_line(kind)}" for name, kind in KINDS.items()]
    if what == "ops":
        return [line for name, kind in OP_KINDS.items() for line in _about_op(name, kind)]
    if what == "phases":
        return [line for phase in PHASES.values() for line in _about_phase(phase)]
    if what == "rules":
        return [f"{name:<18} {_first_line(rule(name))}" for name in ALGORITHMS]
    if what == "mappers":
        return mappers
    raise InputError(f"no list of {quoted(what)}; lists are: {', '.join(LISTS)}")
