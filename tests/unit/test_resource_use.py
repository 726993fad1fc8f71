"""What a design uses of its FPGA: as measured at the build, by formula beyond it, else not known."""

from fractions import Fraction
from math import ceil

import pytest

import archsim
from archsim import DesignError
from archsim.files.document import read_text, write
from archsim.units import KINDS
from archsim.units.fpga import adder_luts, adder_tree_luts, multiplexer_luts, table_luts
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
    assert "the use of ff is not known: no formula follows units.tlmm" in TELLME.with_(
        {"units.tlmm.num_tables": 14}
    ).not_derived()


@pytest.mark.parametrize("change", [{"units.ddr.bandwidth": "25 GB/s"}, {"units.host.measured_time": "5 ms"},
                                    {"units.tlmm.energy.mac": "1 pJ"}, {"links.int8.depth": 30}])  # fmt: skip
def test_what_takes_nothing_of_the_chip_changes_no_use(change):
    """A memory and a host outside, energies; and a FIFO that stays within its shift registers."""
    assert used(change) == SHIPPED


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
