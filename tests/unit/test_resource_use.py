"""What a design uses of its FPGA: as measured at the build, by formula beyond it, else not known."""

import copy
from fractions import Fraction
from math import ceil

import pytest

import archsim
from archsim import DesignError, InputError
from archsim.files.document import read_text, write
from archsim.units import KINDS
from archsim.units.fpga import adder_luts, adder_tree_luts, multiplexer_luts, table_luts
from archsim.units.watched import parameters_read
from tests.contracts import kinds as contract

TELLME = archsim.load_design("tellme_kv260")
SHIPPED = {"lut": 98_303, "ff": 136_721, "dsp": 610, "bram36": 98.5, "uram": 60}
# On a larger FPGA, so that more of anything is not refused.
LARGE = TELLME.with_({f"resources.budget.{resource}": 10**9 for resource in SHIPPED})


def used(changes=None, design=LARGE):
    design = design.with_(changes) if changes else design
    return {resource: None if (n := design.used(resource)) is None else float(n) for resource in SHIPPED}


def test_the_build_uses_what_was_measured():
    assert used(design=TELLME) == SHIPPED
    assert TELLME.not_derived() == ()


@pytest.mark.parametrize("clock", ["100 MHz", "250 MHz", "333 MHz"])
def test_a_clock_changes_no_use(clock):
    assert used({"clock": clock}, TELLME) == SHIPPED


def test_the_three_terms_of_the_look_up():
    """28 tables of 27 sums of 10 bits: an adder for each; 16 copies of 5 LUTs; 16 trees of 320 LUTs and 24 bits."""
    assert (adder_luts(10), table_luts(27, 10), adder_tree_luts(28, 10)) == (10, 5, 320)
    precompute, tables, sums = 28 * 27 * 10, 28 * 16 * 5, 16 * (320 + 24)
    assert TELLME.units["tlmm"].resources()["lut"] == precompute + tables + sums == 15_304


def test_how_far_the_formula_is_from_three_cores_that_were_built():
    """The published cores of the same 28 x 16 look-ups: full tables, half tables with a sign, and a multiplexer."""
    build, sums, lookups = 28 * 27 * 10, 16 * (320 + 24), 28 * 16
    full = build + lookups * table_luts(27, 10) + sums
    half = 28 * 14 * 10 + lookups * (table_luts(14, 10) + adder_luts(10)) + sums
    chosen = build + lookups * multiplexer_luts(27, 10) + sums
    ratios = [built / formula for built, formula in ((23_082, full), (35_200, half), (43_176, chosen))]
    assert [round(ratio, 2) for ratio in ratios] == [1.51, 2.18, 0.97]


def test_a_variant_is_scaled_by_its_formula():
    """14 tables take 3,780 + 1,120 + 16 x (154 + 24) of 15,304 LUTs by the formula, of 23,082 as measured."""
    assert adder_tree_luts(14, 10) == 7 * 11 + 3 * 12 + 2 * 13 + 1 * 14 == 153
    formula = 3_780 + 1_120 + 16 * (153 + 24)
    assert used({"units.tlmm.num_tables": 14})["lut"] == 98_303 - 23_082 + ceil(Fraction(23_082 * formula, 15_304))


def test_scaled_uses_say_so_and_by_how_much_the_formula_was_off():
    told = "scaled from the build by a formula: lut of tlmm (alone off by a factor of 1.51 as built)"
    assert told in TELLME.with_({"units.tlmm.num_tables": 14}).not_derived()


def test_what_has_no_formula_is_not_known():
    """Registers have none; what a pipeline's depth takes has none; a norm's waiting row has none."""
    tables = used({"units.tlmm.num_tables": 14})
    assert [name for name, n in tables.items() if n is None] == ["ff"]
    assert set(used({"units.elementwise.latency_cycles": 5}).values()) == {None}
    assert set(used({"units.tlmm.count": 2}).values()) == {None}
    assert [name for name, n in used({"units.norm.lanes": 8}).items() if n is None] == ["ff", "bram36"]
    assert "the use of ff is not known: no formula gives the ff of units.tlmm" in TELLME.with_(
        {"units.tlmm.num_tables": 14}
    ).not_derived()


@pytest.mark.parametrize("change", [{"units.ddr.bandwidth": "25 GB/s"}, {"units.host.measured_time": "5 ms"},
                                    {"units.tlmm.energy.mac": "1 pJ"}, {"links.int8.depth": 30}])  # fmt: skip
def test_what_takes_nothing_of_the_chip_changes_no_use(change):
    """A memory and a host outside, energies; and a FIFO that stays within its shift registers."""
    assert used(change) == SHIPPED


# Every number of what lies on the chip, and the unit's other parameters that a file may say.
NUMBERS = [
    (place, name, key, value)
    for place in ("units", "links")
    for name, part in getattr(TELLME, place).items()
    if not getattr(part, "off_chip", False)
    for key, value in {"count": 1, "latency_cycles": 0, **TELLME.at(f"{place}.{name}")}.items()
    if (place == "units" or key not in ("count", "latency_cycles")) and any(c.isdigit() for c in str(value))
    and not isinstance(value, list)
]  # fmt: skip


def edited(place, name, **parameters):
    """The design of a file in which this part has other parameters, edited by hand."""
    data = copy.deepcopy(LARGE.document.data)
    data["assumed"] = {path: why for path, why in data["assumed"].items() if why != "set in this variant"}
    data[place].setdefault(name, {}).update(parameters)
    return archsim.Design.read(read_text(write(data)))


def test_all_numbers_are_asked_below():
    assert len(NUMBERS) == 87
    assert {name for _, name, _, _ in NUMBERS} == {*TELLME.units, *TELLME.links} - {"ddr", "host"}


@pytest.mark.parametrize("place, name, key, value", NUMBERS, ids=lambda one: str(one))
def test_no_number_of_the_chip_changes_without_a_word(place, name, key, value):
    """Twice the number, written by hand: each use is None or follows the formula, and the text says which."""
    more = " ".join([str(2 * int(str(value).split()[0]) or 1), *str(value).split()[1:]])
    design = edited(place, name, **{key: int(more) if more.isdigit() else more})
    part, before = getattr(design, place)[name], getattr(LARGE, place)[name]
    if key in parameters_read(before):
        now, then = part.resources(), before.resources()
        for resource, amount in used(design=design).items():
            if amount == SHIPPED[resource]:
                assert now == then or now[resource] == then[resource]
            elif amount is None:
                assert now != then
    else:
        assert set(used(design=design).values()) == {None}
        assert f"no formula follows {place}.{name}.{key}" in design.not_derived()[0]
    assert used({f"{place}.{name}.{key}": value}) == SHIPPED
    assert LARGE.with_({f"{place}.{name}.{key}": value}).not_derived() == ()


def test_what_nobody_says_how_it_was_built_is_not_known():
    """A new unit and link, a unit that `built` leaves out, a parameter that it leaves out, and another kind."""
    vector = {"kind": "vector", "ops": ["mul"], "lanes": 1000}
    link = {"from": "reader", "to": "norm", "depth": 2, "token_bits": "8 bit"}
    built = {path: value for path, value in TELLME.at("built.units").items() if path != "norm"}
    for changes, told in (
        ({"units.extra": vector}, "built does not say units.extra"),
        ({"links.extra": link}, "built does not say links.extra"),
        ({"built.units": built}, "built does not say units.norm"),
        ({"built.units.norm": {"kind": "norm"}}, "built does not say units.norm.lanes"),
        ({"units.norm": {"kind": "vector", "ops": ["rmsnorm"], "lanes": 16}}, "units.norm.kind differs"),
        ({"links.operand.to": "norm"}, "no formula follows links.operand.to"),
        ({"units.norm.arbitration": "placed"}, "no formula follows units.norm.arbitration"),
        ({"built": None}, "built does not say with which parameters it was measured"),
    ):
        variant = LARGE.with_(changes)
        assert set(used(design=variant).values()) == {None}, changes
        assert variant.not_derived() == (f"the use of lut, ff, dsp, bram36, uram is not known: {told}",)


def test_values_are_compared_as_read():
    assert used({"units.reader.bandwidth": "8 GB/s", "units.loader.port_bits": "256 bit"}) == SHIPPED
    assert used({"units.norm.arbitration": "first_come", "units.norm.energy": {"flop": "1 pJ"}}) == SHIPPED


def test_built_is_read_at_the_clock_that_was_built():
    """8 GB/s are 32 B a cycle at 250 MHz and 64 at 125; 40 ns are ten stages at 250 MHz, and twenty at 500."""
    rates = {f"{where}.{port}.bandwidth": "8 GB/s" for port in ("reader", "operand_reader", "writer")
             for where in ("units", "built.units")}  # fmt: skip
    assert used(rates) == SHIPPED
    twice = {f"units.{port}.bandwidth": "64 B/cycle" for port in ("reader", "operand_reader", "writer")}
    assert used({**rates, "clock": "125 MHz"}) == used(twice) != SHIPPED
    time = {"built.units.dequantiser.latency_cycles": "40 ns", "clock": "500 MHz"}
    assert used({**time, "units.dequantiser.latency_cycles": 10}) == SHIPPED
    assert set(used({**time, "units.dequantiser.latency_cycles": "40 ns"}).values()) == {None}


def test_a_use_that_is_written_nowhere_is_no_zero():
    rest = {resource: n for resource, n in TELLME.at("resources.used.rest").items() if resource not in ("lut", "dsp")}
    variant = LARGE.with_({"resources.used.rest": rest})
    assert [name for name, n in used(design=variant).items() if n is None] == ["lut", "dsp"]
    told = "the use of lut, dsp is not known: resources.used says nothing of it for `rest`, where formulas find some"
    assert told in variant.not_derived()


def test_the_formula_of_a_subclass_is_watched_too():
    """What a property or a method of the kind reads counts, and what nothing reads does not."""
    assert {"group_size", "activation_bits"} < parameters_read(TELLME.units["tlmm"])
    assert "takes_per_cycle" not in parameters_read(TELLME.units["tlmm"])
    assert parameters_read(TELLME.links["int8"]) == {"depth", "token_bits"}


def test_a_link_takes_what_its_places_take():
    """400 places of 8 bit are half a block RAM; the eight shift registers of 16 places go."""
    assert used({"links.int8.depth": 400}) == {**SHIPPED, "lut": 98_303 - 8, "bram36": 99.0}


def test_the_rest_changes_by_the_difference_and_keeps_what_it_has():
    """32 lanes of a norm are 16 more: 16 x (4 x 70 + 16) LUTs. Its DSPs are more than the rest has, so they shrink."""
    assert used({"units.norm.lanes": 32})["lut"] == 98_303 + 16 * (4 * 70 + 16)
    assert used({"units.norm.lanes": 1})["dsp"] == 610 - 52 + ceil(52 - Fraction(15 * 8 * 52, 128 + 32 + 4))


def test_a_variant_that_was_written_and_read_again_uses_the_same():
    for changes in ({"units.tlmm.num_tables": 14}, {"units.tlmm.takes_per_cycle": 2}, {"units.weight_buffer.banks": 4}):
        variant = LARGE.with_(changes)
        again = archsim.Design.read(read_text(write(variant.document.data)))
        assert used(design=again) == used(design=variant)
        assert again.not_derived() == variant.not_derived()
    back = LARGE.with_({"units.tlmm.num_tables": 14}).with_({"units.tlmm.num_tables": 28})
    assert used(design=back) == SHIPPED


def test_ten_thousand_tables_are_told_as_what_they_are():
    told = "resources.budget.lut: 8,249,942 are used (of these 'tlmm' 8,174,721, scaled from the build) and the FPGA"
    with pytest.raises(DesignError, match=told.replace("(", r"\(").replace(")", r"\)")):
        TELLME.with_({"units.tlmm.num_tables": 10_000})


# Of every kind with a formula, what there is more of; a longer interval shares its operators more.
COUNTS = {
    "array": ["rows", "columns"], "channel": ["bandwidth"], "core_array": ["cores", "trees", "inputs", "lanes"],
    "decode_attention": ["score_depth", "lanes"], "matmul_array": ["macs_per_cycle"], "norm": ["lanes"],
    "prefill_attention": ["query_parallel", "lanes", "adders", "rescale_lanes"],
    "table_lookup": ["group_size", "num_tables", "readers_per_table", "activation_bits"], "vector": ["lanes"],
    "weight_buffer": ["regions", "region_blocks", "region_outputs", "word_bits", "banks"],
    "weight_loader": ["ports", "port_bits", "burst_beats", "outstanding"],
}  # fmt: skip


DEEP = {"score_depth": 200, "regions": 40, "region_blocks": 40, "region_outputs": 400}  # more than one block's words


def test_every_formula_is_asked_below():
    assert set(COUNTS) == {name for name in KINDS if contract.made(name).resources()}


@pytest.mark.parametrize("kind, field", [(kind, field) for kind, fields in COUNTS.items() for field in fields])
def test_more_of_anything_takes_no_less(kind, field):
    unit = {"bandwidth": " B/cycle", "macs_per_cycle": " MAC/s"}.get(field, " bit" if field.endswith("_bits") else "")
    most = 9 if field == "group_size" else 70
    # Banks are rounded up each, so that only a multiple of them takes no less.
    numbers = [2**i for i in range(8)] if field == "banks" else range(1, most)
    found = []
    for n in numbers:
        n *= DEEP.get(field, 1)
        value = f"{n * 10**6}{unit}" if field == "macs_per_cycle" else f"{n}{unit}" if unit else n
        found.append(contract.made(kind, **{field: value}).resources())
    assert found[0] != found[-1]
    for resource in found[0]:
        if (kind, resource) == ("weight_loader", "lut"):
            continue  # a FIFO moves from LUTs to block RAM as it grows
        amounts = [one[resource] for one in found]
        assert amounts == sorted(amounts), resource


AMOUNTS = "expected an int or a Fraction of zero or more, which are exact"


@pytest.mark.parametrize(
    "given, told",
    [
        (None, "nothing; expected a mapping of resources to amounts, such as {'lut': 8}"),
        ({"lut": 1.5}, f"1.5 of 'lut'; {AMOUNTS}"),
        ({"lut": -1}, f"-1 of 'lut'; {AMOUNTS}"),
        ({"lut": True}, f"true of 'lut'; {AMOUNTS}"),
        ({"lut": "many"}, f"'many' of 'lut'; {AMOUNTS}"),
        ({"luts": 1}, "an amount of 'luts', which is no resource; did you mean 'lut'?"),
    ],
)
def test_a_formula_of_a_kind_that_gives_no_amounts_is_refused(monkeypatch, given, told):
    monkeypatch.setattr(KINDS["norm"], "resources", lambda self: given)
    with pytest.raises(DesignError) as raised:
        archsim.load_design("tellme_kv260")
    assert str(raised.value).endswith(f"units.norm: resources() of kind 'norm' gives {told}")


def failing(fault: Exception):
    def resources(self):
        raise fault

    return resources


@pytest.mark.parametrize("fault", [ValueError("no logarithm of 0"), AssertionError("at least one lane")])
@pytest.mark.parametrize("use", [archsim.load_design, lambda name: TELLME.with_({"clock": "200 MHz"})])
def test_a_fault_of_a_formula_is_no_mistake_of_the_file(monkeypatch, fault, use):
    """pydantic takes both for a mistake of what it reads; every other exception passes through it."""
    monkeypatch.setattr(KINDS["norm"], "resources", failing(fault))
    with pytest.raises(RuntimeError, match=rf"^resources\(\) of Norm: {type(fault).__name__}: {fault}$") as raised:
        use("tellme_kv260")
    assert raised.value.__cause__ is fault


def test_a_fault_of_a_formula_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(KINDS["norm"], "resources", failing(ZeroDivisionError("by zero")))
    with pytest.raises(ZeroDivisionError):
        archsim.load_design("tellme_kv260")


def test_what_a_formula_refuses_is_a_problem_of_the_design(monkeypatch):
    monkeypatch.setattr(KINDS["norm"], "resources", failing(InputError("units.norm: no such FPGA")))
    with pytest.raises(DesignError, match=r"units.norm: no such FPGA$"):
        archsim.load_design("tellme_kv260")


@pytest.mark.parametrize("kind", ["nrom", 3, None, ["norm"], {"norm": 1}])
def test_a_kind_that_is_none_is_told_at_its_place(kind):
    with pytest.raises(DesignError, match=r"built\.units\.norm\.kind: expected a kind of unit, got "):
        TELLME.with_({"built.units.norm.kind": kind})
