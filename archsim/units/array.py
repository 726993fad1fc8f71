"""Array: a systolic grid of multiply-adds that works fold by fold, by the operand that stays in place."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from archsim.errors import MappingError
from archsim.quantity import Count
from archsim.units.fpga import Amounts, multiply_adds
from archsim.units.unit import Unit, ceil_div, largest_share
from dataflow.errors import PathProblems
from dataflow.format import format_named
from dataflow.op import Work

Product = tuple[int, int, int, int]  # how many products of m x k with k x n
# For each dataflow the extents that lie along the rows and the columns, and the one that streams through a fold.
ALONG: dict[str, tuple[str, str, str]] = {
    "output_stationary": ("m", "n", "k"),
    "weight_stationary": ("k", "n", "m"),
    "input_stationary": ("k", "m", "n"),
}


class Array(Unit):
    """Products on rows x columns multiply-adds: a fold keeps one tile in place and streams the third extent past it.

    Folds are F = ceil(x / rows) x ceil(y / columns), where x, y and the streamed s are m, n and k (output stationary);
    k, n and m (weight stationary); k, m and n (input stationary). A product of m x k with k x n takes, in cycles:
    serial: F (s + rows + columns - 2), each fold filled and drained; plus rows for each where weights or inputs are
    loaded first. As SCALE-Sim 2 and 3, which print the index of the last cycle: one less, once a layer.
    ragged: each fold s + r + c + 3 for the r rows and c columns that it uses, one less where either is 1; of output
    stationary arrays alone. As STONNE.
    overlapped: F x s, and one fill of rows + columns - 2 as work `enter`, which a mapper schedules once for an op.
    With `rates` a multiply-add makes r products a cycle in the work's format, along the streamed extent: s becomes
    ceil(s / r), while fills, drains and loads stay. Raises MappingError for a format that `rates` lacks.
    Not modelled: a fold cut short where a mask leaves nothing to do, the ports of the memory beside the array.
    """

    kinds = ("matmul", "attention_scores", "attention_sums")

    kind: Literal["array"]
    rows: Count = Field(description="multiply-adds down the array")
    columns: Count = Field(description="multiply-adds across the array")
    dataflow: Literal["output_stationary", "weight_stationary", "input_stationary"] = Field(
        description="the operand that stays in place during a fold"
    )
    folds: Literal["serial", "ragged", "overlapped"] = Field(
        description="serial: each fold fills and drains; ragged: by the rows and columns that it uses; overlapped: one "
        "fill for an op"
    )
    rates: dict[Annotated[str, AfterValidator(lambda name: format_named(name).name)], Count] = Field(
        default_factory=dict, examples=[{"int8": 2, "bf16": 1}],
        description="products that a multiply-add makes in a cycle by the format of the wider factor, such as "
        "{int8: 2, bf16: 1}; without it one, in every format",
    )  # fmt: skip

    @model_validator(mode="after")
    def _known(self) -> Array:
        if self.folds == "ragged" and self.dataflow != "output_stationary":
            told = f"ragged folds are known of output_stationary arrays, not of {self.dataflow}"
            raise PathProblems([("folds", f"{told}; give serial or overlapped, or that dataflow")])
        return self

    @property
    def does(self) -> tuple[str, ...]:
        """Products of matrices, those of attention among them; and the fill of an op whose folds overlap."""
        return (*self.kinds, "enter") if self.folds == "overlapped" else self.kinds

    @property
    def convention(self) -> str:
        """What a fold costs, in words: published tools differ, so a figure says which of them it follows."""
        rates = ", ".join(f"{n} in {name}" for name, n in self.rates.items())
        return f"{self._fold}; products of a multiply-add in a cycle: {rates}" if rates else self._fold

    @property
    def _fold(self) -> str:
        if self.folds == "overlapped":
            return "folds overlap: one fill for an op"
        if self.folds == "ragged":
            return "each fold takes its fill and drain by the rows and columns that it uses, as in STONNE"
        loads = "" if self.dataflow == "output_stationary" else ", after its stationary operand is loaded"
        return f"each fold fills and drains{loads}, as in SCALE-Sim, which prints one cycle less for a layer"

    def tile(self, work: Work) -> dict[str, int]:
        """Of a matmul the extents of a fold but the streamed one, which may be cut anywhere at the price of a fill."""
        rows, columns, _ = ALONG[self.dataflow]
        return {rows: self.rows, columns: self.columns} if work.kind == "matmul" else {}

    def _cycles(self, work: Work) -> int:
        if work.kind == "enter":
            return self.rows + self.columns - 2
        count, m, k, n = product_of(work)
        return count * self._product(m, k, n, rate=self._rate(work))

    def _gang(self, work: Work, servers: int) -> int:
        if work.kind == "enter":
            return self._cycles(work)
        count, m, k, n = product_of(work)
        if work.kind != "matmul" or count > 1:  # products of their own go to servers of their own
            return ceil_div(count, servers) * self._product(m, k, n, rate=self._rate(work))
        return self._cycles(largest_share(work, "n", servers))

    def resources(self) -> Amounts:
        """A DSP for each multiply-add and product that it makes in a cycle; memories beside it have no formula."""
        return multiply_adds(self.rows * self.columns * max(self.rates.values(), default=1))

    def _rate(self, work: Work) -> int:
        """Products that a multiply-add makes in a cycle in the format of this work."""
        if self.rates and work.format not in self.rates:
            there, where = f"rates has {', '.join(self.rates)}", f"a unit of kind {self.named_kind}"
            if not work.format:
                way_out = "the format in the work, as op.work.part(...) takes it from an op"
                raise MappingError(f"{there}; {work} says no format", where=where, ways_out=(way_out,))
            rates = ", ".join(f"{name}: {n}" for name, n in {**self.rates, work.format: 1}.items())
            raise MappingError(
                f"{there}, not {work.format}, in which {work} multiplies", where=where,
                ways_out=(f"rates: {{{rates}}} of that unit",),
            )  # fmt: skip
        return self.rates.get(work.format, 1)

    def _product(self, m: int, k: int, n: int, *, rate: int) -> int:
        if not prod((m, k, n)):
            return 0
        sizes = {"m": m, "k": k, "n": n}
        x, y, streamed = (sizes[name] for name in ALONG[self.dataflow])
        streamed = ceil_div(streamed, rate)
        folds = ceil_div(x, self.rows) * ceil_div(y, self.columns)
        if self.folds == "overlapped":
            return folds * streamed
        if self.folds == "serial":
            loaded = 0 if self.dataflow == "output_stationary" else self.rows
            return folds * (loaded + streamed + self.rows + self.columns - 2)
        total = 0
        for r, down in _parts(x, self.rows):
            for c, across in _parts(y, self.columns):
                total += down * across * (streamed + r + c + 3 - (min(r, c) == 1))
        return total


def product_of(work: Work) -> Product:
    """How many products of m x k with k x n the work is; heads that share keys are rows of one product.

    Of attention over all keys that some query sees: an array does not skip what a mask hides within a fold.
    """
    if work.kind == "matmul":
        return work["batch"], work["m"], work["k"], work["n"]
    assert work.mask is not None
    rows = work["queries"] * ceil_div(work["heads"], max(1, work["kv_heads"]))
    keys = work.mask.needed(work["queries"], work["keys"])
    count = work["batch"] * work["kv_heads"]
    k, n = (work["qk_dim"], keys) if work.kind == "attention_scores" else (keys, work["v_dim"])
    return count, rows, k, n


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """An extent in parts of a size: (size, how many), and the rest."""
    whole, rest = divmod(extent, size)
    return [(size, whole), *([(rest, 1)] if rest else [])]
