"""The energy of a run, counted by hand where every action takes 1 pJ, and what makes the power of a variant follow."""

import hashlib
import json
from fractions import Fraction

import pytest

import archsim
import mappers
from archsim import DesignError
from archsim.check import check_file
from archsim.design.energy import CycleEnergy
from archsim.design.technology import load_technology
from archsim.files.document import read_text, write
from archsim.files.shipped import shipped
from archsim.report.folder import run_files
from archsim.report.json import as_json
from archsim.run.laws import LawBroken
from dataflow import decode, prefill, work

PJ = Fraction(1, 10**12)
TOY, LLM = archsim.load_design("toy"), archsim.load_model("toy_llm")
PRICES = {
    "units.mm.energy": {"mac": "1 pJ", "exp": "1 pJ"}, "units.vec.energy": {"flop": "1 pJ", "exp": "1 pJ"},
    "units.ddr.energy": {"read": "1 pJ", "written": "1 pJ"},
}  # fmt: skip
PRICED = TOY.with_(PRICES)
# An FPGA of which mm uses 6 LUTs, vec 2, and nobody 3.
FPGA = {
    "resources": {"budget": {"lut": 100}, "used": {"mm": {"lut": 6}, "vec": {"lut": 2}, "rest": {"lut": 3}}},
    "built": {"clock": "1 MHz", "units": {name: TOY.at(f"units.{name}") for name in ("mm", "vec")}},
}  # fmt: skip
CYCLES = {"idle": "1 W", "cycle": {"lut": "1 J"}, "waiting": 0.25}
TELLME, BITNET = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")


def run(design, context=4):
    return mappers.run(design, LLM, phase="decode", context=context)


@pytest.mark.parametrize("graph", [decode(LLM, context=4), prefill(LLM, prompt=3)])
def test_every_action_counts_once(graph):
    """A pJ for each multiply-add, operation and exp of the graph, and for each byte that the memory moves."""
    report = archsim.simulate(mappers.lower(graph, PRICED), PRICED)
    counts = graph.counts()
    moved = report.bytes_moved("ddr", "read") + report.bytes_moved("ddr", "written")
    assert report.joules == PJ * (counts["mac"] + counts["flop"] + counts.get("exp", 0) + moved)
    assert report.units["ddr"].energy_joules == PJ * moved
    assert (report.idle_joules, report.rest_joules, report.energy_missing) == (None, None, "")
    assert report.power_watts == pytest.approx(float(report.joules) / report.seconds)
    assert report.tokens_per_joule == pytest.approx(report.tokens / float(report.joules))


def test_idle_power_flows_all_the_time():
    busy, idle = run(PRICED), run(PRICED.with_({"energy": {"idle": "2 W"}}))
    assert idle.idle_joules == 2 * Fraction(idle.cycles, 10**6)
    assert idle.joules == busy.joules + idle.idle_joules
    assert idle.units == busy.units


def test_an_fpga_takes_its_cycles_by_what_each_unit_uses():
    """A LUT takes 1 J in a busy cycle and 0.25 J in another; what belongs to no unit always waits."""
    design = TOY.with_({"units.ddr.energy": {"read": "0 J", "written": "0 J"}, **FPGA, "energy": CYCLES})
    report = run(design)
    for name, luts in (("mm", 6), ("vec", 2)):
        busy = report.units[name].busy_cycles
        assert report.units[name].energy_joules == luts * (busy + Fraction(report.cycles - busy, 4))
    assert report.idle_joules == Fraction(report.cycles, 10**6)
    assert report.rest_joules == Fraction(3 * report.cycles, 4)
    of_units = sum(unit.energy_joules for unit in report.units.values())
    assert report.joules == report.idle_joules + report.rest_joules + of_units


def test_a_unit_outside_without_energies_leaves_the_whole_without_one():
    report = run(TOY.with_({**FPGA, "energy": CYCLES}))
    assert (report.energy_joules, report.power_watts, report.tokens_per_joule) == (None, None, None)
    told = "ddr: the design gives no energy for its work"
    assert f"energy      not known: {told}" in str(report)
    assert report.energy_missing == as_json(report)["energy_missing"] == told


def test_actions_and_cycles_of_a_unit_add_up():
    priced = {**PRICES, **FPGA, "energy": CYCLES}
    both, cycles = run(TOY.with_(priced)), run(TOY.with_({**priced, "units.mm.energy": {}}))
    assert both.units["mm"].energy_joules - cycles.units["mm"].energy_joules == run(PRICED).units["mm"].energy_joules


def test_the_energy_of_sections_is_that_of_units(monkeypatch):
    """The law that every run is checked against, broken on purpose."""
    right = CycleEnergy.of_all
    monkeypatch.setattr(CycleEnergy, "of_all", lambda self, busy, cycles: right(self, busy, cycles) + PJ)
    with pytest.raises(LawBroken, match=r"energy: .* J by units, .* J by sections"):
        run(PRICED.with_({"energy": {"idle": "1 W"}}))


def on_tellme(changes=None, **phase):
    design = TELLME.with_(changes) if changes else TELLME
    return mappers.run(design, BITNET, **(phase or {"phase": "decode", "context": 64}))


def test_the_published_power_at_its_conditions():
    report = on_tellme()
    assert report.power_watts == pytest.approx(4.8, abs=0.005)
    assert report.published_watts is None
    assert "4.80 W on average" in str(report)


def test_the_power_of_the_build_by_hand():
    """idle + bytes + LUTs, DSPs and blocks: those of a unit while it is busy in full, all others at half."""
    report = on_tellme()
    each = {"lut": Fraction(8, 100), "dsp": Fraction(5), "uram": Fraction(15)}
    waits = sum(TELLME.used(what) * price for what, price in each.items()) / 2
    joules = Fraction("2.32") * report.cycles / 250_000_000 + PJ * waits * report.cycles
    moved = report.bytes_moved("ddr", "read") + report.bytes_moved("ddr", "written")
    joules += Fraction("162.5") * PJ * moved
    use = TELLME.use
    for name, unit in report.units.items():
        if use.part(name):
            own = sum(use.own(name, what) * price for what, price in each.items())
            joules += PJ * own * unit.busy_cycles / 2
    assert report.joules == joules


def test_a_faster_clock_takes_more_power_and_the_same_energy_for_an_action():
    slow, fast = on_tellme(), on_tellme({"clock": "300 MHz"})
    assert fast.power_watts > slow.power_watts
    assert fast.seconds < slow.seconds
    assert fast.units["ddr"].energy_joules == slow.units["ddr"].energy_joules
    twice = on_tellme({"clock": "500 MHz"})
    assert twice.units["prefill_attention"].energy_joules == twice.cycles * Fraction(
        slow.units["prefill_attention"].energy_joules, slow.cycles
    )  # it waits in a decode step, so that its energy goes by cycles


def test_more_hardware_takes_more_power_where_it_brings_nothing():
    """42 tables take as long as 28, because an index vector of weights is of 84 inputs."""
    built, more = on_tellme(), on_tellme({"units.tlmm.num_tables": 42})
    assert more.cycles == built.cycles
    assert more.tokens_per_joule < built.tokens_per_joule


@pytest.mark.parametrize("changes", [{"units.tlmm.takes_per_cycle": 2}, {"units.norm.count": 2}])
def test_power_is_not_known_where_a_use_is_not(changes):
    report = on_tellme(changes)
    assert (report.power_watts, report.energy_joules, report.tokens_per_joule) == (None, None, None)
    assert any("not known: no formula follows" in told for told in report.caveats)


def test_published_power_is_that_of_the_design_as_it_is():
    engine = archsim.load_design("vrex8")
    assert engine.published_power == 35
    assert engine.with_({"units.pcie.bandwidth": "8 GB/s"}).published_power is None
    own = {"power": "30 W", "units.pcie.bandwidth": "8 GB/s"}
    assert engine.with_({"power": "30 W"}).published_power == 30
    assert engine.with_(own).published_power is None
    assert engine.with_({**own, "built": None}).published_power == 30


@pytest.mark.parametrize(
    "changes",
    [{"units.dram.bandwidth": "204.8 GB/s"}, {"clock": "800 MHz"}, {"clock": "0.8 GHz"}, {"units.lxe.count": 1},
     {"units.lxe.cores": 8}, {"units.lxe": {"kind": "core_array", "cores": 8, "trees": 64, "inputs": 64, "lanes": 64}}],
)  # fmt: skip
def test_a_variant_equal_to_its_file_keeps_power_and_area(changes):
    engine = archsim.load_design("vrex8")
    variant = engine.with_({"units.lxe.lanes": 32}).with_({**changes, "units.lxe.lanes": 64})
    for same in (engine.with_(changes), variant):
        assert (same.published_power, same.area) == (35, engine.area)
        assert same.not_derived() == engine.not_derived()


def by_hand(design, **edits):
    """The design of a file that says these values at dotted paths; nothing in it tells that they were edited."""
    edited = design.with_({path.replace("__", "."): value for path, value in edits.items()}).document.data
    assumed = {path: why for path, why in edited["assumed"].items() if why != "set in this variant"}
    return archsim.Design.read(read_text(write({**edited, "assumed": assumed})))


@pytest.mark.parametrize("name", ["vrex8", "vrex48", "agx_orin", "a100"])
def test_published_power_does_not_outlive_an_edit_by_hand(name):
    """Each number of each unit, and the clock, changed in the file: power is not known, and the reason is told."""
    design = archsim.load_design(name)
    numbers = {f"units.{unit}.{key}" for unit in design.units for key in design.at(f"units.{unit}")} | {"clock"}
    asked = 0
    for path in sorted(numbers):
        number, _, unit = str(design.at(path)).partition(" ")
        if not number.replace(".", "").isdigit():
            continue
        times = 0.5 if path.endswith("cache_region") else 2  # which is a part of the memory
        other = by_hand(design, **{path: f"{times * float(number):g} {unit}" if unit else 2 * int(number)})
        told = f"power is published of what was built, and {path} differs: power and energy are not known"
        assert (other.is_variant, other.published_power) == (False, None)
        assert any(each.startswith(told) for each in other.not_derived())
        assert by_hand(other, **{path: design.at(path)}).published_power == design.power
        asked += 1
    assert asked > 15


def test_without_what_was_built_power_is_that_of_the_file_and_not_of_its_variants(tmp_path):
    design = by_hand(archsim.load_design("vrex8"), built=None)
    assert design.published_power == 35
    assert design.with_({"clock": "800 MHz"}).published_power == 35
    assert design.with_({"clock": "1 GHz"}).published_power is None
    saved = archsim.Design.read(read_text(write(design.with_({"clock": "1 GHz"}).document.data)))
    assert saved.published_power is None
    told = "power and area are the file's; nothing says what was built, so an edit by hand keeps them"
    assert told in design.not_derived()
    (tmp_path / "own.yaml").write_text(write(design.document.data))
    assert f"  simplified {told}" in check_file(str(tmp_path / "own.yaml"), mappers=("retrieval",))


def test_a_unit_that_is_taken_out_leaves_nothing_known():
    """Of a chip its power; of an FPGA uses and what a cycle takes. A name that `built` misspells is such a one."""
    data = archsim.load_design("vrex8").document.data
    for name in ("pcie", "ssd"):
        data["units"].pop(name)
    design = archsim.Design.read(read_text(write({**data, "tiers": ["buffer", "dram"], "assumed": {}})))
    assert design.published_power is None
    assert "units.pcie was built and is no longer there" in design.not_derived()[0]
    built = {**TELLME.at("built"), "links": {**TELLME.at("built.links"), "intermediate": {"depth": 2}}}
    report = on_tellme({"built": built})
    assert report.power_watts is None
    told = "the use of lut, ff, dsp, bram36, uram is not known: links.intermediate was built and is no longer there"
    assert told in report.caveats


def test_a_clock_above_the_build_is_told():
    told = "the clock of 300 MHz is above the 250 MHz that was built; no model says whether it is met"
    assert told in on_tellme({"clock": "300 MHz"}).caveats
    assert not any("clock" in each for clock in ("250 MHz", "200 MHz") for each in on_tellme({"clock": clock}).caveats)


def test_two_answers_about_power_are_refused():
    for second in ({"technology": "7nm"}, {"units.lxe.energy": {"mac": "1 pJ"}}, {"energy": {"idle": "1 W"}}):
        with pytest.raises(DesignError, match=r"power: published power and `.*` are two answers; give one of them"):
            archsim.load_design("vrex8").with_(second)


def test_every_form_has_the_same_energy():
    report = on_tellme()
    (row,) = mappers.sweep(TELLME, BITNET, phase="decode", over={"context": [64]})
    data = as_json(report)
    for name in ("energy_joules", "power_watts", "tokens_per_joule"):
        assert row[name] == data[name] == getattr(report, name)
    assert data["idle_joules"] == float(report.idle_joules)
    assert data["units"]["tlmm"]["energy_joules"] == float(report.units["tlmm"].energy_joules)
    line = next(line for line in str(report).splitlines() if line.startswith("energy"))
    assert line.endswith("5.25 token/J: idle 48%, ddr 20%, elementwise 8%, prefill_attention (not used) 5%, others 18%")
    assert line.removeprefix("energy").strip() in report._repr_html_()
    assert row["budget_share.lut"] == 98_303 / 117_120


def test_speed_and_energy_are_two_goals():
    over = {"units.tlmm.num_tables": [14, 28], "units.tlmm.readers_per_table": [8, 16], "clock": ["250 MHz", "300 MHz"],
            "units.ddr.bandwidth": ["17.1 GB/s", "25 GB/s"]}  # fmt: skip
    goals = ["tokens_per_second", "tokens_per_joule"]
    swept = mappers.sweep("tellme_kv260", "bitnet_b158_large", phase="decode", context=512, over=over, most=goals)
    front = swept.pareto()
    assert len(front) > 1
    assert max(front, key=lambda row: row[goals[0]]) is not max(front, key=lambda row: row[goals[1]])


# A technology: what an action takes by the process ----------------------------------------------------------------

SEVEN = load_technology("7nm")
CHIP = archsim.load_design("tpu_v4i")


def test_a_product_by_its_format():
    """An int8 product of 2 x 3 x 4 is 24 multiplies of 0.07 pJ and additions in int32 of 0.03 pJ; bf16 adds in fp32."""
    mxu = CHIP.units["mxu"]
    asked = {"m": 2, "k": 3, "n": 4}
    assert SEVEN.joules(mxu, work("matmul", None, "int8", **asked)) == 24 * PJ * Fraction("0.1")
    assert SEVEN.joules(mxu, work("matmul", None, "bf16", **asked)) == 24 * PJ * Fraction("0.59")
    assert SEVEN.joules(mxu, work("matmul", **asked)) is None
    assert load_technology("45nm").joules(mxu, work("matmul", None, "bf16", **asked)) is None


@pytest.mark.parametrize(
    ("memory", "of_64_bit"),
    [
        ({"cells": "hbm2"}, "350"),
        ({"cells": "sram", "bank": "8 KiB"}, "7.5"), ({"cells": "sram", "bank": "9 KiB"}, "8.5"),
        ({"cells": "sram"}, "14"), ({"cells": "sram", "bank": "2 MiB"}, None), ({}, None),
    ],
)  # fmt: skip
def test_bytes_by_the_memory(memory, of_64_bit):
    unit = TOY.with_({f"units.ddr.{key}": value for key, value in memory.items()}).units["ddr"]
    expected = None if of_64_bit is None else 3 * PJ * Fraction(of_64_bit)
    assert SEVEN.joules(unit, work("read", bytes=24)) == expected


def test_a_run_on_a_chip_by_hand():
    """A gemm's multiply-adds at 0.59 pJ and its bytes at the HBM's 43.75 and the banks' 1.75 pJ."""
    report = mappers.run(CHIP, archsim.load_workload("gemm:256x256x256"))
    hbm, cmem = (sum(report.bytes_moved(name, way) for way in ("read", "written")) for name in ("hbm", "cmem"))
    joules = 256**3 * Fraction("0.59") + hbm * Fraction("43.75") + cmem * Fraction("1.75")
    assert report.joules == PJ * joules
    assert any("technology '7nm', without control, wires, clocks" in told for told in report.caveats)


def test_what_the_table_lacks_leaves_the_whole_without_energy():
    report = mappers.run(CHIP.with_({"units.hbm.cells": None}), archsim.load_workload("gemm:64x64x64"))
    assert report.energy_joules is None
    assert report.energy_missing == "hbm: `cells` says no kind of memory, by which the technology prices its bytes"
    own = {"units.hbm.cells": None, "units.hbm.energy": {"read": "1 pJ", "written": "1 pJ"}}
    assert mappers.run(CHIP.with_(own), archsim.load_workload("gemm:64x64x64")).energy_joules is not None


def test_a_stored_row_and_a_folder_depend_on_the_technology(tmp_path, monkeypatch):
    """A row whose technology's file has changed runs anew; the manifest of a run has the file's hash."""
    monkeypatch.chdir(tmp_path)
    own, store = tmp_path / "own.yaml", tmp_path / "rows.db"
    text = shipped("technologies")["7nm"].read_text()
    own.write_text(text.replace("hbm2: 350 pJ", "hbm2: 300 pJ"))

    def joules():
        chip = CHIP.with_({"technology": str(own)})
        asked = {"over": {"units.vector.lanes": [1024]}, "store": str(store), "resume": store.exists()}
        (row,) = mappers.sweep(chip, archsim.load_workload("gemm:64x64x64"), **asked)
        return row["energy_joules"]

    before = joules()
    own.write_text(text)
    assert joules() > before
    design = CHIP.with_({"technology": str(own)})
    report = mappers.run(design, archsim.load_workload("gemm:64x64x64"))
    graph = archsim.load_workload("gemm:64x64x64")
    files = run_files(report, design, model=graph, inputs={"design": "tpu_v4i", "model": "gemm"})
    manifest = json.loads(files["manifest.json"])
    assert manifest["inputs"]["design.technology"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_report_says_what_the_variant_uses():
    """Text, JSON and the rows of a sweep have the same uses; registers of other tables are not known."""
    report = on_tellme({"units.tlmm.num_tables": 14})
    line = next(line for line in str(report).splitlines() if line.startswith("resources"))
    uses = "86,883 lut (74%), 610 dsp (49%), 98.5 bram36 (68%), 60 uram (94%) of the FPGA; not known: ff"
    assert line == f"resources   {uses}"
    data = as_json(report)
    assert data["resources"]["lut"] == {"used": 86_883, "budget": 117_120}
    assert data["resources"]["ff"] == {"used": None, "budget": 234_240}
    over = {"units.tlmm.num_tables": [14]}
    (row,) = mappers.sweep(TELLME, BITNET, phase="decode", context=64, over=over)
    assert {name: use["used"] for name, use in data["resources"].items()} == {
        name: row[f"resources.{name}"] for name in data["resources"]
    }
    assert (data["area_mm2"], as_json(run(TOY))["resources"]) == (None, {})
    assert not any(line.startswith("resources") for line in str(run(TOY)).splitlines())
