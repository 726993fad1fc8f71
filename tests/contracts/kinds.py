"""What every kind of unit must hold to, as functions of its name in KINDS; a kind added by a user runs too.

`written` are parameters of a unit as YAML writes them; those that are not given are the examples of their fields. A
field whose type has no example takes `examples=[...]` in its Field.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, Literal, get_args, get_origin

import pytest

from archsim import Design, DesignError, MappingError, load_design
from archsim.quantity import Written
from archsim.schema import schema_lines
from archsim.units import KINDS, Unit
from dataflow import OP_KINDS, Work, work

EXTENTS = (0, 1, 7, 300, 10**6)
FACTORS = (Fraction(1, 2), Fraction(2), Fraction(1000))
PRICES = {what: n for n, what in enumerate(("mac", "exp", "flop", "read", "written", "moved"), start=1)}
# Fields that no cycles and no resources show, with the reason.
ELSEWHERE = {
    "decode_attention": {"score_depth": "a limit, by which mappers refuse"},
    "memory": {**dict.fromkeys(("capacity", "cache_region"), "a limit, by which mappers refuse"),
               "bank": "what an access costs by a technology"},
    "memory_tile": {"capacity": "a limit, by which mappers refuse", "element_bits": "the width of a vector"},
    "mesh": dict.fromkeys(("rows", "columns"), "where mappers place tiles"),
    "prefill_attention": {"max_context": "a limit, by which mappers refuse"},
    "table_lookup": {"activation_bits": "the width of a table's entries"},
    "threshold_unit": {"buckets": "a limit, by which mappers refuse"},
    "vector": {"loop_elements": "mappers schedule the entries of a loop"},
    "weight_loader": dict.fromkeys(
        ("burst_beats", "outstanding", "beat_bits", "vectors_per_beat", "block_inputs", "region_blocks",
         "region_outputs"), "mappers lay weights out and split loads by it",
    ),
}  # fmt: skip


@cache
def toy() -> Design:
    return load_design("toy")


def own_fields(name: str) -> dict[str, Any]:
    """The fields of a kind that not every unit has."""
    return {n: f for n, f in KINDS[name].model_fields.items() if n not in {*Unit.model_fields, "kind"}}


def example_of(field: Any) -> Any:
    """A value of a field as YAML writes it: its example, a word of a Literal, or its default."""
    arms = (field, *get_args(field.annotation))  # of `Bytes | None`, the first arm has the metadata
    metadata = [one for arm in arms for one in getattr(arm, "metadata", getattr(arm, "__metadata__", ()))]
    found = [*(field.examples or ()), *(one.example for one in metadata if isinstance(one, Written))]
    if not found and get_origin(field.annotation) is Literal:
        found = list(get_args(field.annotation))
    return found[0] if found else field.get_default(call_default_factory=True)


def example(name: str) -> dict[str, Any]:
    """The parameters of a unit of this kind, by examples; what has none is left out."""
    values = {field: example_of(info) for field, info in own_fields(name).items()}
    return {field: value for field, value in values.items() if isinstance(value, int | str | list | dict)}


def made(name: str, written: dict[str, Any] | None = None, /, **changes: Any) -> Unit:
    """A unit of this kind on the toy design's clock: a cycle is a microsecond. A change to None leaves the key out."""
    values = {**(example(name) if written is None else written), **changes}
    given = {"kind": name, **{key: value for key, value in values.items() if value is not None}}
    return toy().with_({"units": {"u": given}}).units["u"]


def works(kind: str, extents: tuple[int, ...] = EXTENTS) -> Iterator[Work]:
    """Every combination of these extents for an op kind, multiplied in int8."""
    names = OP_KINDS[kind].extents
    # Of attention's seven extents the smallest, the middle and the largest values, with as many KV heads as heads.
    if len(names) > 4:
        names = tuple(name for name in names if name not in ("batch", "kv_heads"))
        extents = (extents[0], extents[len(extents) // 2], extents[-1])
    for values in product(extents, repeat=len(names)):
        yield work(kind, None, "int8", **dict(zip(names, values, strict=True)))


def samples(one: Unit, extents: tuple[int, ...] = EXTENTS) -> list[Work]:
    return [item for kind in one.does for item in works(kind, extents)]


def larger(item: Work) -> Iterator[Work]:
    """The work with one extent more, for each extent but a stride, which says where elements lie, not how many."""
    for i, extent in enumerate(OP_KINDS[item.kind].extents):
        if extent != "stride":
            yield replace(item, extents=tuple(n + (i == j) for j, n in enumerate(item.extents)))


def scaled(value: Any, factor: Fraction) -> Any:
    """A number, or an amount with its unit, times a factor; None where it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(1, int(value * factor)) if value else 0
    number, _, unit = value.partition(" ") if isinstance(value, str) else ("", "", "")
    if not unit or not number.replace(".", "", 1).isdigit():
        return None
    many = float(Fraction(number) * factor)
    return f"{many:g} {unit}"


def is_known_by_its_own_name(name: str, written: dict[str, Any] | None = None) -> None:
    assert get_args(KINDS[name].model_fields["kind"].annotation) == (name,)
    assert made(name, written).named_kind == name
    assert (KINDS[name].__doc__ or "").strip()
    shown = "\n".join(schema_lines(name))
    for field, info in own_fields(name).items():
        assert info.description, f"{name}.{field}"
        assert (info.alias or field) in shown


def does_op_kinds_that_there_are(name: str, written: dict[str, Any] | None = None) -> None:
    assert set(made(name, written).does) <= set(OP_KINDS)


def takes_whole_cycles(name: str, written: dict[str, Any] | None = None, extents: Iterable[int] = EXTENTS) -> None:
    one = made(name, written)
    for item in samples(one, tuple(extents)):
        cycles = one.cycles(item)
        assert type(cycles) is int
        assert cycles >= 0


def takes_no_fewer_cycles_for_more(
    name: str, written: dict[str, Any] | None = None, extents: Iterable[int] = EXTENTS
) -> None:
    one = made(name, written)
    for item in samples(one, tuple(extents)):
        for more in larger(item):
            assert one.cycles(more) >= one.cycles(item), f"{more} after {item}"


def shares_a_firing_or_refuses(name: str, written: dict[str, Any] | None = None) -> None:
    """More servers take no longer, and together no fewer server-cycles; or a firing is one server's."""
    one = made(name, written)
    for item in samples(one, (1, 7, 300)):
        try:
            taken = [one.cycles(item, servers) for servers in (1, 2, 3, 8)]
        except MappingError as refusal:
            assert "a firing is done by one server, 2 are asked for" in str(refusal)  # noqa: PT017
            assert one.cycles(item, 1) == one.cycles(item)
            continue
        assert taken[0] == one.cycles(item)
        assert taken == sorted(taken, reverse=True), str(item)
        assert all(n * t >= taken[0] for n, t in zip((1, 2, 3, 8), taken, strict=True)), str(item)


def refuses_foreign_work(name: str, written: dict[str, Any] | None = None) -> None:
    one = made(name, written)
    for other in sorted(set(OP_KINDS) - set(one.does)):
        with pytest.raises(TypeError) as raised:
            one.cycles(next(works(other, (1, 1, 1))))
        does = ", ".join(one.does)
        assert str(raised.value) == f"a {KINDS[name].__name__} does not do '{other}'; it does {does}"


def refuses_unknown_and_missing_keys(name: str, written: dict[str, Any] | None = None) -> None:
    with pytest.raises(DesignError, match="unknown key 'turbo'"):
        made(name, written, turbo=1)
    for field, info in own_fields(name).items():
        if info.is_required():
            with pytest.raises(DesignError, match=field):
                made(name, written, **{field: None})


def feels_each_of_its_numbers(name: str, written: dict[str, Any] | None = None) -> None:
    """Halved or a few times larger, a number changes some cycles, the resources or what the unit does."""
    values = example(name) if written is None else written
    elsewhere = ELSEWHERE.get(name, {})
    assert set(elsewhere) <= set(own_fields(name))

    def felt(unit: Unit) -> list[Any]:
        return [unit.does, unit.resources(), *(unit.cycles(item) for item in samples(unit))]

    was = felt(made(name, values))
    for field, value in values.items():
        changed = [scaled(value, factor) for factor in FACTORS]
        units = [unit for to in changed if to is not None and (unit := _allowed(name, values, field, to))]
        assert field in elsewhere or not units or any(felt(unit) != was for unit in units), f"{name}.{field}"


def _allowed(name: str, values: dict[str, Any], field: str, value: Any) -> Unit | None:
    try:
        return made(name, values, **{field: value})
    except DesignError:  # half of it, or twice as much, may be beyond a limit of the kind
        return None


def needs_the_energy_of_what_is_counted(name: str, written: dict[str, Any] | None = None) -> None:
    priced = made(name, written, energy={what: f"{n} pJ" for what, n in PRICES.items()})
    unpriced = made(name, written)
    for item in samples(priced, (0, 1, 7)):
        expected = sum(n * Fraction(PRICES[what], 10**12) for what, n in item.counts().items())
        assert priced.energy_joules(item) == expected
        assert unpriced.energy_joules(item) is None


CONTRACTS = (
    is_known_by_its_own_name,
    does_op_kinds_that_there_are,
    takes_whole_cycles,
    takes_no_fewer_cycles_for_more,
    shares_a_firing_or_refuses,
    refuses_foreign_work,
    refuses_unknown_and_missing_keys,
    feels_each_of_its_numbers,
    needs_the_energy_of_what_is_counted,
)
