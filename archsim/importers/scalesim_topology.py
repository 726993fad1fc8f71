"""A SCALE-Sim topology as a graph: one product after another, each the product that SCALE-Sim makes of a layer.

A file is a list of products or of convolutions, told apart by the number of columns. Knows no array.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from archsim.errors import GraphError
from archsim.files.document import file_text
from archsim.importers.extent import WHOLE, extent
from dataflow.errors import quoted
from dataflow.format import BF16
from dataflow.graph import Graph
from dataflow.models.products import add_gemm
from dataflow.name import LONGEST_NAME
from kernels.limits import LAYERS, beyond

PRODUCT = ("M", "N", "K")
CONVOLUTION = ("ifmap height", "ifmap width", "filter height", "filter width", "channels", "filters", "stride")
COLUMNS = {
    len(PRODUCT): PRODUCT, len(PRODUCT) + 1: PRODUCT, len(CONVOLUTION): CONVOLUTION, len(CONVOLUTION) + 1: CONVOLUTION,
}  # fmt: skip
FORMS = (
    f"a product has 4 columns (name, {', '.join(PRODUCT)}), a convolution 8 (name, {', '.join(CONVOLUTION)}), "
    "and a sparsity N:M may follow"
)
DEPTHWISE = "DP"  # within the name of a layer
MOST_NAMES = 4  # of layers in a sentence of a report

BYTES = "elements are bf16, because a topology names no format; bytes follow it, cycles do not"


class Row(NamedTuple):
    """One layer as the file has it: its line, name, extents by column, and whether it is depthwise."""

    line: int
    name: str
    extents: dict[str, int]

    @property
    def is_depthwise(self) -> bool:
        """True where it is one single-channel layer for each channel."""
        return "channels" in self.extents and DEPTHWISE in self.name

    @property
    def cuts_a_window(self) -> bool:
        """True where the last window reaches beyond the input, because outputs are rounded up."""
        size = self.extents
        return any(side in size and (size[side] - size[over]) % size["stride"] for side, over in SIDES)


SIDES = (("ifmap height", "filter height"), ("ifmap width", "filter width"))


@dataclass(frozen=True, slots=True)
class Product:
    """What a layer is as a product of m x k with k x n, `batch` of them."""

    m: int
    n: int
    k: int
    batch: int = 1


def product_of(row: Row) -> Product:
    """The product that SCALE-Sim makes of a layer.

    Of a convolution m = out_h x out_w with out = ceil((in - filter + stride) / stride), k = filter_h x filter_w x
    channels and n = filters; padding is in the input already. A depthwise layer is one such product for each channel.

    >>> size = dict(zip(CONVOLUTION, (227, 227, 11, 11, 3, 96, 4)))
    >>> product_of(Row(2, "Conv1", size))
    Product(m=3025, n=96, k=363, batch=1)
    """
    size = row.extents
    if "M" in size:
        return Product(size["M"], size["N"], size["K"])
    height, width = (-(-(size[side] - size[over] + size["stride"]) // size["stride"]) for side, over in SIDES)
    window = size["filter height"] * size["filter width"]
    if row.is_depthwise:
        return Product(height * width, size["filters"], window, batch=size["channels"])
    return Product(height * width, size["filters"], window * size["channels"])


def scalesim_topology(path: str) -> Graph:
    """The graph of a SCALE-Sim topology. Raises GraphError with every problem of the file."""
    shown, text = file_text(path, form="a SCALE-Sim topology")
    first, *written = text.removeprefix("\ufeff").split("\n")
    lines = [(line, words) for line, row in enumerate(written, start=2) if (words := row.strip())]
    if problem := beyond(len(lines), LAYERS, of="layers", instead="cut the file in parts"):
        raise GraphError(f"{shown}: {problem}")
    problems: list[tuple[int, str]] = []
    rows = [row for line, words in lines if (row := _row(line, words, problems))]
    if not lines:
        problems.append((1, "no layer; expected a header and a row for each layer"))
    problems += _of_two_forms(rows)
    if problems:
        raise GraphError([f"{shown}:{line}: {told}" for line, told in sorted(problems, key=lambda one: one[0])])
    graph = Graph(Path(path).stem)
    for row in _named_apart(rows):
        product = product_of(row)
        add_gemm(graph, row.name, m=product.m, n=product.n, k=product.k, batch=product.batch, format=BF16)
    return replace(graph, approximated=tuple(_notes(rows, first.strip())))


def _row(line: int, words: str, problems: list[tuple[int, str]]) -> Row | None:
    """The layer of a row; None where it adds a problem."""
    name, *cells = (cell.strip() for cell in words.split(","))
    told = []
    if not cells or cells.pop():
        told.append(f"no comma at the end of {quoted(words)}; SCALE-Sim drops what follows the last comma: add one")
    elif len(cells) not in COLUMNS:
        told.append(f"{len(cells) + 1} columns in {quoted(words)}; {FORMS}")
    else:
        told += _problems(name, cells)
    problems += [(line, one) for one in told]
    if told:
        return None
    return Row(line, name, {column: int(cell) for column, cell in zip(COLUMNS[len(cells)], cells, strict=False)})


def _problems(name: str, cells: Sequence[str]) -> Iterator[str]:
    """What is wrong with the columns of a row."""
    columns = COLUMNS[len(cells)]
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        yield f"expected a name of 1 to {LONGEST_NAME} printable characters, got {quoted(name)}"
    found = {column: extent(cell) for column, cell in zip(columns, cells, strict=False)}
    for column, cell in zip(columns, cells, strict=False):
        if found[column] is None:
            yield f"{quoted(name)}: {column}: expected {WHOLE}, got {quoted(cell)}"
    for side, over in SIDES if columns == CONVOLUTION else ():
        size, window = found[side], found[over]
        if size is not None and window is not None and window > size:
            yield f"{quoted(name)}: {over}: {window} is more than the {side} of {size}; pad the input in the file"
    for sparsity in cells[len(columns) :]:
        ratio = re.fullmatch("([0-9]{1,9}) *: *([0-9]{1,9})", sparsity)
        if ratio is None or not int(ratio[2]):
            yield f"{quoted(name)}: expected a sparsity N:M such as 1:1 in the last column, got {quoted(sparsity)}"
        elif int(ratio[1]) != int(ratio[2]):
            yield f"{quoted(name)}: sparsity {sparsity}: sparse products are not modelled; write 1:1 for dense ones"


def _of_two_forms(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """The rows of the rarer form, where a file has both: a cut convolution would pass for a product."""
    products = [row for row in rows if "M" in row.extents]
    others = [row for row in rows if "M" not in row.extents]
    if not products or not others:
        return []
    few, many, form, rest = products, others, "product", "convolutions"
    if len(products) > len(others):
        few, many, form, rest = others, products, "convolution", "products"
    told = f"has the columns of a {form} among {rest}, as in line {many[0].line}; a file has one of the two"
    return [(row.line, f"{quoted(row.name)}: {told}") for row in few]


def _named_apart(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows with names that no other has; those that repeat carry their line.

    A number and a dot in the name of an op mean one of many equal layers, which those of a topology are not.
    """
    names = [re.sub(r"(?<=[0-9])\.", "_", row.name) for row in rows]
    often, taken = Counter(names), set[str]()
    for row, name in zip(rows, names, strict=True):
        own = f"{name} (line {row.line})" if often[name] > 1 else name
        while not taken.isdisjoint((own, f"{own}.x", f"{own}.w")):
            own += "'"
        taken |= {own, f"{own}.x", f"{own}.w"}
        yield row._replace(name=own)


def _notes(rows: Sequence[Row], first: str) -> Iterator[str]:
    """What a reader of the report has to know of how the file was read."""
    yield BYTES
    if _row(1, first, []):
        yield f"the first row, {quoted(first)}, is the header and no layer, as SCALE-Sim takes it"
    if deep := [row.name for row in rows if row.is_depthwise]:
        yield f"a name with {DEPTHWISE} is a depthwise layer, one of a single channel for each channel: {_some(deep)}"
    if cut := [row.name for row in rows if row.cuts_a_window]:
        yield f"outputs are rounded up, as SCALE-Sim does; the last windows reach beyond the input: {_some(cut)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
