"""Do SCALE-Sim's files give its cycles plus one a layer? Its forms are written here apart from the package.

SCALE-Sim prints the index of the last cycle of a layer, so a layer takes one more, and a file the sum over its layers.
"""

import random
from math import ceil, prod
from pathlib import Path

import pytest

import archsim
import mappers
from archsim import DesignError, GraphError
from archsim.importers.load import names_graph
from dataflow import Graph

DATA = Path(__file__).parent.parent / "data"
CONFIGURATION = "[architecture_presets]\nArrayHeight: {}\nArrayWidth: {}\nDataflow: {}\n"
HEADER = "Layer,\n"


def last_cycle(m: int, n: int, k: int, rows: int, columns: int, dataflow: str) -> int:
    """What SCALE-Sim prints of one layer."""
    if dataflow == "os":
        return ceil(m / rows) * ceil(n / columns) * (k + rows + columns - 2) - 1
    if dataflow == "ws":
        return ceil(k / rows) * ceil(n / columns) * (m + 2 * rows + columns - 2) - 1
    return ceil(k / rows) * ceil(m / columns) * (n + 2 * rows + columns - 2) - 1


def layers_of(path: Path) -> list[tuple[int, int, int]]:
    """Each layer of a topology as (m, n, k), a depthwise one once a channel: as SCALE-Sim runs them."""
    layers = []
    for row in path.read_text().splitlines()[1:]:
        name, *cells = row.split(",")[:-1]
        size = [int(cell) for cell in cells]
        if len(size) == 3:
            layers.append((size[0], size[1], size[2]))
            continue
        height, width, filter_height, filter_width, channels, filters, stride = size
        m = ceil((height - filter_height + stride) / stride) * ceil((width - filter_width + stride) / stride)
        if "DP" in name:
            layers += [(m, filters, filter_height * filter_width)] * channels
        else:
            layers.append((m, filters, filter_height * filter_width * channels))
    return layers


def design_of(folder: Path, rows: int, columns: int, dataflow: str) -> archsim.Design:
    path = folder / "array.cfg"
    path.write_text(CONFIGURATION.format(rows, columns, dataflow))
    return archsim.load_design(str(path))


def test_drawn_products_take_the_cycles_of_the_forms(tmp_path: Path) -> None:
    draw = random.Random(20261130)
    for number in range(240):
        rows, columns = draw.choice([1, 2, 3, 8, 12, 32, 100]), draw.choice([1, 2, 5, 8, 14, 32, 128])
        m, n, k = (draw.choice([1, draw.randint(1, 40), draw.randint(1, 2000), rows, columns]) for _ in range(3))
        dataflow = ("os", "ws", "is")[number % 3]
        design = design_of(tmp_path, rows, columns, dataflow)
        graph = archsim.load_workload(f"gemm:{m}x{n}x{k}")
        report = archsim.simulate(mappers.lower(graph, design), design)
        case = (m, n, k, rows, columns, dataflow)
        assert report.cycles - 1 == last_cycle(*case), case


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("rows, columns", [(32, 32), (12, 14), (128, 128), (7, 3)])
@pytest.mark.parametrize("network", ["alexnet", "resnet18", "mobilenet", "gemms"])
def test_a_topology_takes_the_sum_over_its_layers(
    network: str, rows: int, columns: int, dataflow: str, tmp_path: Path
) -> None:
    path = DATA / f"{network}.csv"
    layers = layers_of(path)
    report = mappers.run(design_of(tmp_path, rows, columns, dataflow), str(path))
    assert report.cycles == sum(last_cycle(*layer, rows, columns, dataflow) + 1 for layer in layers)
    assert len(report.ops) == len(path.read_text().splitlines()) - 1
    assert report.ops[-1].end_cycle == report.cycles == sum(op.busy_cycles for op in report.ops)


def test_alexnet_by_hand() -> None:
    report = mappers.run(str(DATA / "scale.cfg"), str(DATA / "alexnet.csv"))
    # Folds of 32 x 32, times k + 62. Conv1: 55 x 55 outputs are 95 folds, 96 filters are 3, k is 11 x 11 x 3.
    assert {op.name: op.busy_cycles for op in report.ops} == {
        "Conv1": 95 * 3 * (363 + 62),
        "Conv2": 23 * 8 * (2400 + 62),
        "Conv3": 6 * 12 * (2304 + 62),
        "Conv4": 6 * 12 * (3456 + 62),
        "Conv5": 6 * 8 * (3456 + 62),
        "FC6": 128 * (9216 + 62),
        "FC7": 128 * (4096 + 62),
        "FC8": 32 * (4096 + 62),
    }
    assert report.cycles == 3_019_509


@pytest.mark.parametrize("network, macs", [("resnet18", 1_814_073_344), ("mobilenet", 568_740_352)])
def test_networks_have_the_multiply_adds_that_are_published(network: str, macs: int) -> None:
    """ResNet-18: 1.8 billion; MobileNet: 569 million."""
    graph = archsim.load_workload(str(DATA / f"{network}.csv"))
    assert graph.counts()["mac"] == macs == sum(prod(layer) for layer in layers_of(DATA / f"{network}.csv"))


def test_a_depthwise_layer_is_one_op_of_as_many_products_as_channels() -> None:
    graph = archsim.load_workload(str(DATA / "mobilenet.csv"))
    assert str(graph.ops["Conv2_DP"].work) == "matmul(batch=32, m=12544, k=9, n=1, bf16)"
    assert str(graph.ops["Conv2_pointwise"].work) == "matmul(batch=1, m=12544, k=32, n=64, bf16)"
    report = mappers.run("systolic_array", graph)
    assert report.op("Conv14_DP").busy_cycles == 1024 * 2 * (9 + 62)
    assert any("depthwise" in told and "Conv2_DP" in told for told in report.approximated)


def topology(folder: Path, rows: str, header: str = HEADER) -> Graph:
    path = folder / "layers.csv"
    path.write_text(header + rows)
    return archsim.load_workload(str(path))


def test_outputs_are_rounded_up_and_the_report_says_so(tmp_path: Path) -> None:
    graph = topology(tmp_path, "a, 6, 7, 3, 3, 2, 4, 2,\nb, 7, 7, 3, 3, 2, 4, 2,\n")
    assert graph.ops["a"].work["m"] == ceil(5 / 2) * ceil(6 / 2)
    assert next(told for told in graph.approximated if "rounded up" in told).endswith(": a")


def test_dense_sparsities_blank_rows_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    rows = "a, 6, 6, 3, 3, 2, 4, 1, 1:1,\r\n\r\nb, 6, 6, 3, 3, 2, 4, 1, 4:4,\r\n  c,6,6,3,3,2,4,1,"
    assert list(topology(tmp_path, rows).ops) == ["a", "b", "c"]
    assert list(topology(tmp_path, "p, 1, 2, 3, 2:2,\n").ops) == ["p"]


def test_the_first_row_is_the_header_whatever_it_says(tmp_path: Path) -> None:
    plain = topology(tmp_path, "b, 4, 4, 4,\n")
    taken = topology(tmp_path, "b, 4, 4, 4,\n", header="a, 1, 2, 3,\n")
    assert list(taken.ops) == list(plain.ops) == ["b"]
    assert [told for told in taken.approximated if told not in plain.approximated] == [
        "the first row, 'a, 1, 2, 3,', is the header and no layer, as SCALE-Sim takes it"
    ]


def test_names_that_repeat_or_would_mean_something_else_are_told_apart(tmp_path: Path) -> None:
    names = ("a", "a", "a (line 2)", "a.x", "layer1.0.conv", "layer2.0.conv")
    graph = topology(tmp_path, "".join(f"{name}, {m}, 2, 2,\n" for m, name in enumerate(names, start=1)))
    assert [op.work["m"] for op in graph.ops.values()] == [1, 2, 3, 4, 5, 6]
    assert list(graph.ops)[:2] == ["a (line 2)", "a (line 3)"]
    assert list(graph.ops)[-1] == "layer2_0_conv"
    assert mappers.run("systolic_array", graph).mapped == 6


def test_a_configuration_is_a_design() -> None:
    design = archsim.load_design(str(DATA / "scale.cfg"))
    array = design.units["array"]
    assert (design.name, array.rows, array.columns) == ("array_32x32_os", 32, 32)
    assert (array.dataflow, array.folds) == ("output_stationary", "serial")
    assert list(design.assumed) == ["clock"]
    assert "scale.cfg" in design.source
    assert "SCALE-Sim" in design.source
    narrow = design.with_({"units.array.columns": 16})
    assert (narrow.units["array"].columns, narrow.is_variant) == (16, True)
    assert narrow.approximated == design.approximated


def test_what_is_not_modelled_reaches_the_report(tmp_path: Path) -> None:
    report = mappers.run(str(DATA / "scale.cfg"), str(DATA / "gemms.csv"))
    [told] = [one for one in report.approximated if "memory is ideal" in one]
    for key in ("IfmapSramSzkB 64", "OfmapOffset 20000000", "Bandwidth 10", "MemoryBanks 1", "InterfaceBandwidth CALC"):
        assert key in told
    assert f"simplified  {told}" in str(report)


PRESETS = CONFIGURATION.format(8, 8, "ws")


@pytest.mark.parametrize(
    "more, told",
    [
        ("[run_presets]\nInterfaceBandwidth: USER\n", "InterfaceBandwidth USER: stalls"),
        ("[run_presets]\nUseRamulatorTrace: True\n", "UseRamulatorTrace True: stalls"),
        ("[layout]\nIfmapCustomLayout: True\n", "IfmapCustomLayout True: layouts"),
        ("[sparsity]\nSparsitySupport: false\nOptimizedMapping: true\n", "OptimizedMapping true: without effect"),
    ],
)
def test_switches_that_change_no_ideal_cycles_are_noted(more: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "array.cfg"
    path.write_text(PRESETS + more)
    assert any(told in one for one in archsim.load_design(str(path)).approximated)


@pytest.mark.parametrize(
    "text, told",
    [
        (PRESETS + "[sparsity]\nSparsitySupport: true\n", "6: [sparsity] SparsitySupport: expected false"),
        (PRESETS + "[run_presets]\nInterfaceBandwidth: USER\n[layout]\nIfmapCustomLayout: 1\n", "8: [layout]"),
        (PRESETS + "[run_presets]\nInterfaceBandwidth: user\n", "6: [run_presets] InterfaceBandwidth: expected CALC"),
        (PRESETS.replace("Width", "Widht"), "3: [architecture_presets]: unknown key 'ArrayWidht'; did you mean"),
        (PRESETS + "ArrayHieght: 4\n", "5: [architecture_presets]: unknown key 'ArrayHieght'; did you mean"),
        (PRESETS + "arrayheight: 4\n", "5: [architecture_presets] arrayheight: is given twice, first in line 2"),
        (PRESETS + "[architecture_presets]\n", "5: [architecture_presets]: is given twice, first in line 1"),
        (PRESETS + "[sparse]\nx: 1\n", "5: unknown section 'sparse'; did you mean 'sparsity'?"),
        (PRESETS + "Dataflow\n", "5: expected [section] or 'key: value', got 'Dataflow'"),
        ("a: 1\n" + PRESETS, "1: 'a' stands before the first section"),
        ("[general]\nrun_name: x\n", "1: missing section [architecture_presets]"),
        ("", "1: missing section [architecture_presets]"),
        (PRESETS.replace("Dataflow: ws\n", ""), "1: [architecture_presets]: missing key 'Dataflow'"),
        (CONFIGURATION.format(4, 4, "OS"), "4: [architecture_presets] Dataflow: expected os, ws or is, got 'OS'"),
        (CONFIGURATION.format(0, 4, "os"), "2: [architecture_presets] ArrayHeight: expected a whole number from 1"),
        (CONFIGURATION.format(4, "4.0", "os"), "3: [architecture_presets] ArrayWidth: expected a whole number from 1"),
        (CONFIGURATION.format("٤", 4, "os"), "2: [architecture_presets] ArrayHeight: expected a whole number from 1"),
        (PRESETS + "[general]\nrun_name: " + "x" * 300, "6: [general] run_name: expected a name of 1 to 200"),
        (PRESETS + "\x1b[2J: 1\n", "5: expected printable text"),
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "array.cfg"
    path.write_text(text)
    with pytest.raises(DesignError) as refused:
        archsim.load_design(str(path))
    [problem] = refused.value.problems
    assert problem.startswith(f"{path}:{told}")


@pytest.mark.parametrize(
    "rows, told",
    [
        ("a, 4, 4, 4\n", "2: no comma at the end of 'a, 4, 4, 4'"),
        ("a, 4, 4,\n", "2: 3 columns in 'a, 4, 4,'"),
        ("a, 4, 4, 4, 4, 4,\n", "2: 6 columns in"),
        ("a, 4, 4, 4, 5,\n", "2: 'a': expected a sparsity N:M such as 1:1 in the last column, got '5'"),
        ("a, 4, 4, 4, 2:4,\n", "2: 'a': sparsity 2:4: sparse products are not modelled"),
        ("a, 4, 4, 4, 0:0,\n", "2: 'a': expected a sparsity N:M"),
        ("a, 0, 4, 4,\n", "2: 'a': M: expected a whole number from 1 to 2147483648, got '0'"),
        ("a, 4, -1, 4,\n", "2: 'a': N: expected"),
        ("a, 4, 4, 1.5,\n", "2: 'a': K: expected"),
        ("a, 4, 4, 9999999999999999999,\n", "2: 'a': K: expected"),
        (", 4, 4, 4,\n", "2: expected a name of 1 to 200 printable characters, got ''"),
        ("a, 2, 8, 3, 3, 1, 1, 1,\n", "2: 'a': filter height: 3 is more than the ifmap height of 2"),
        ("a, 8, 8, 3, 3, 1, 1, 0,\n", "2: 'a': stride: expected"),
        ("a, 1, 2, 3,\nb, 8, 8, 3, 3, 1, 1, 1,\nc, 1, 2, 3,\n", "3: 'b': has the columns of a convolution among"),
        ("", "1: no layer; expected a header and a row for each layer"),
    ],
)
def test_a_topology_that_cannot_be_right_is_refused_with_its_line(rows: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(GraphError) as refused:
        topology(tmp_path, rows)
    [problem] = refused.value.problems
    assert problem.startswith(f"{tmp_path / 'layers.csv'}:{told}")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(GraphError) as refused:
        topology(tmp_path, "a, 0, x, 4,\nb, 4, 4, 4\nc, 1, 2,\n")
    assert [problem.split(":")[1] for problem in refused.value.problems] == ["2", "2", "3", "4"]


def test_too_many_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="10,001 layers, at most 10,000; cut the file in parts"):
        topology(tmp_path, "a, 1, 1, 1,\n" * 10_001)


def test_what_stands_for_a_graph() -> None:
    assert all(map(names_graph, ("gemm:1x1x1", "gemm:", "a/topology.csv", "T.CSV")))
    assert not any(map(names_graph, ("toy_llm", "models/gemm.yaml", 3, None)))
