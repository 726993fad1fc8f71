"""Products of INT8 activations with ternary weights by looking up partial sums instead of multiplying.

Knows the tables, the order of blocks and the counts of operations. Does not know how long a look-up takes.
The results equal the int32 products exactly: they are sums of at most k values of magnitude 127 (128 for -128).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kernels.lazy_torch import torch
from kernels.machine_code import compiled
from kernels.ternary.packing import GROUP_SIZE, NUM_TABLES, check_indices, group_indices, group_patterns, pad_inputs

# arXiv 2510.15926, for k = 4096; see accumulator_bits.
ACCUMULATOR_BITS = 24


@dataclass(frozen=True, slots=True)
class LookupCounts:
    """Operations of lookup_matmul_counted, counted where each happens.

    blocks: groups of num_tables tables · input_reads: activations read, zeros of the padding included · table_builds,
    table_entries, table_additions: tables filled, entries written, additions for them · lookups: entries read ·
    lookup_steps: iterations in which up to `readers` outputs read all tables of a block at once · accumulations:
    additions of an entry to a sum · multiplications · output_writes: sums written.
    """

    blocks: int
    input_reads: int
    table_builds: int
    table_entries: int
    table_additions: int
    lookups: int
    lookup_steps: int
    accumulations: int
    multiplications: int
    output_writes: int


# Compiled code fills an array in the order of the fields above, because it cannot fill a dataclass.
_BLOCKS, _READS, _BUILDS, _ENTRIES, _ADDITIONS, _LOOKUPS, _STEPS, _SUMS, _PRODUCTS, _WRITES = range(10)


def accumulator_bits(k: int) -> int:
    """Return the bits of a signed accumulator that never overflows on k INT8 x ternary products.

    Formula: 1 + bits(127 * k); activations are at least -127, as quantize_absmax makes them. 24 bits are enough up to
    k = 66,052. Source: derived; arXiv 2510.15926 uses 24 bits for k = 4096.

    >>> accumulator_bits(1), accumulator_bits(4096), accumulator_bits(66_052), accumulator_bits(66_053)
    (8, 20, 24, 25)
    """
    return 1 + (127 * k).bit_length()


@lru_cache(maxsize=8)
def _build_plan(group_size: int) -> np.ndarray:
    """Return how to fill a table, int64 [3**group_size - 1, (entry, from entry, input, sign)]: one addition per row."""
    patterns = [tuple(row) for row in group_patterns(group_size).tolist()]
    rows = []
    # Entries with fewer terms come first: each is an earlier entry with one more term.
    for entry in sorted(range(1, len(patterns)), key=lambda index: np.count_nonzero(patterns[index])):
        pattern = patterns[entry]
        last = max(i for i in range(group_size) if pattern[i])
        shorter = (*pattern[:last], *(0,) * (group_size - last))
        rows.append((entry, patterns.index(shorter), last, pattern[last]))
    return np.array(rows, dtype=np.int64)


@compiled()
def _fill_table(table: np.ndarray, x: np.ndarray, plan: np.ndarray) -> int:
    """Write the partial sums of one group of activations into table and return the number of additions."""
    additions = 0
    table[0] = 0
    for row in range(len(plan)):
        entry, source, place, sign = plan[row]
        value = np.int16(x[place])
        table[entry] = table[source] + value if sign > 0 else table[source] - value
        additions += 1
    return additions


@compiled()
def _fill_tables(x: np.ndarray, plan: np.ndarray, group_size: int) -> np.ndarray:
    tables = np.empty((len(x) // group_size, len(plan) + 1), dtype=np.int16)
    for group in range(len(tables)):
        _fill_table(tables[group], x[group * group_size : (group + 1) * group_size], plan)
    return tables


@compiled()
def _lookup_rows(x: np.ndarray, indices: np.ndarray, plan: np.ndarray, group_size: int) -> np.ndarray:
    product = np.empty((len(x), len(indices)), dtype=np.int32)
    for row in range(len(x)):
        # The tables depend on the activations alone, so all outputs share them.
        tables = _fill_tables(x[row], plan, group_size)
        for output in range(len(indices)):
            total = 0
            for group in range(len(tables)):
                total += tables[group, indices[output, group]]
            product[row, output] = total
    return product


@compiled()
def _lookup_blocks(
    x: np.ndarray, indices: np.ndarray, plan: np.ndarray, group_size: int, num_tables: int, readers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multiply padded x [m, blocks * num_tables * group_size] with indices [n, blocks * num_tables], and count."""
    rows, outputs = len(x), len(indices)
    product = np.zeros((rows, outputs), dtype=np.int32)
    counts = np.zeros(10, dtype=np.int64)
    tables = np.empty((num_tables, len(plan) + 1), dtype=np.int16)
    values = np.empty(group_size, dtype=np.int8)
    for row in range(rows):
        # Blocks outside, outputs inside, as in arXiv 2510.15926: a block's tables are filled once for all outputs.
        for first_group in range(0, indices.shape[1], num_tables):
            counts[_BLOCKS] += 1
            for table in range(num_tables):
                for place in range(group_size):
                    values[place] = x[row, (first_group + table) * group_size + place]
                    counts[_READS] += 1
                counts[_ADDITIONS] += _fill_table(tables[table], values, plan)
                counts[_ENTRIES] += len(tables[table])
                counts[_BUILDS] += 1
            for first_output in range(0, outputs, readers):
                # A last step with fewer outputs than readers counts as a whole one.
                counts[_STEPS] += 1
                for output in range(first_output, min(first_output + readers, outputs)):
                    for table in range(num_tables):
                        product[row, output] += tables[table, indices[output, first_group + table]]
                        counts[_LOOKUPS] += 1
                        counts[_SUMS] += 1
        # A sum is complete, and written, only after the last block.
        counts[_WRITES] += outputs
    return product, counts


def check_activations(x: np.ndarray, ndim: int = 2) -> None:
    """Raise TypeError unless x is int8, ValueError unless it has ndim axes and is not empty."""
    if x.dtype != np.int8:
        raise TypeError(f"x: expected int8, got {x.dtype}")
    if x.ndim != ndim or x.size == 0:
        raise ValueError(f"x: expected {ndim} axes and at least one element, got shape {x.shape}")


def build_tables(x: np.ndarray, group_size: int = GROUP_SIZE) -> np.ndarray:
    """Return all signed sums of each group of activations, in the order of group_patterns.

    x int8 [k]; returns int16 [ceil(k / group_size), 3**group_size]; the last group is padded with zeros. Entries of
    group size 3 need 10 bits. Raises TypeError, ValueError as check_activations. Source: arXiv 2510.15926.

    a, b, c = 1, 10, 100; entries 1 to 4 are a, b, c, a+b and entry 13 is -a+b+c:

    >>> build_tables(np.array([1, 10, 100], dtype=np.int8))[0, [1, 2, 3, 4, 13, 26]].tolist()
    [1, 10, 100, 11, 109, -109]
    """
    check_activations(x, 1)
    return _fill_tables(np.pad(x, (0, -len(x) % group_size)), _build_plan(group_size), group_size)


def build_tables_reference(x: np.ndarray, group_size: int = GROUP_SIZE) -> np.ndarray:
    """Return build_tables as the product of groups and patterns."""
    groups = torch.nn.functional.pad(torch.tensor(x).int(), (0, -len(x) % group_size)).reshape(-1, group_size)
    return (groups @ torch.tensor(group_patterns(group_size)).int().T).to(torch.int16).numpy()


def lookup_matmul(x: np.ndarray, indices: np.ndarray, *, group_size: int = GROUP_SIZE) -> np.ndarray:
    """Return the product of activations and ternary weights given as indices, int32 [m, n].

    x int8 [m, k], any m >= 1 and k >= 1; indices uint8 [n, ceil(k / group_size)], as group_indices makes them.
    Formula: product[i, j] = sum over groups g of tables(x[i])[g, indices[j, g]]. Source: arXiv 2510.15926.
    Raises TypeError, ValueError as check_activations; ValueError when x and indices differ in the number of groups or
    an index has no entry.

    (1, 2, 3, 4) times (1, -1, 0, -1) is 1 - 2 - 4:

    >>> lookup_matmul(np.array([[1, 2, 3, 4]], dtype=np.int8), np.array([[5, 14]], dtype=np.uint8)).tolist()
    [[-5]]
    """
    check_activations(x)
    check_indices(indices, x.shape[1], group_size=group_size)
    return _lookup_rows(pad_inputs(x, group_size), indices, _build_plan(group_size), group_size)


def lookup_matmul_reference(x: np.ndarray, indices: np.ndarray, *, group_size: int = GROUP_SIZE) -> np.ndarray:
    """Return lookup_matmul as an int32 matrix product with the decoded weights."""
    weights = torch.tensor(group_patterns(group_size))[torch.tensor(indices).long()].flatten(1)[:, : x.shape[1]]
    return (torch.tensor(x).int() @ weights.int().T).numpy()


def lookup_matmul_counted(
    x: np.ndarray, weights: np.ndarray, *, num_tables: int = NUM_TABLES, readers: int = 16, group_size: int = GROUP_SIZE
) -> tuple[np.ndarray, LookupCounts]:
    """Return the product int32 [m, n], computed block by block in plain loops, and its counts.

    x int8 [m, k], weights int8 [n, k]. For each row of x and each block of num_tables * group_size inputs: read the
    inputs, fill the tables, then let `readers` outputs at a time read all tables. k is padded with zeros to blocks.
    Source: arXiv 2510.15926. Raises TypeError, ValueError as check_activations and check_ternary; ValueError when x and
    weights differ in inputs.

    One block of 84 inputs, 32 outputs, 16 readers: 28 tables, 2 steps of 28 x 16 look-ups.

    >>> product, counts = lookup_matmul_counted(np.ones((1, 84), dtype=np.int8), np.ones((32, 84), dtype=np.int8))
    >>> product[0, 0], counts.table_builds, counts.lookup_steps, counts.lookups, counts.multiplications
    (np.int32(84), 28, 2, 896, 0)
    """
    check_activations(x)
    indices = group_indices(weights, group_size)
    if x.shape[1] != weights.shape[1]:
        raise ValueError(f"x has {x.shape[1]} inputs, weights have {weights.shape[1]}; they must be equal")
    # Entry 0 of a table is 0, so a padded index adds nothing.
    x, indices = pad_inputs(x, num_tables * group_size), pad_inputs(indices, num_tables)
    product, counts = _lookup_blocks(x, indices, _build_plan(group_size), group_size, num_tables, readers)
    return product, LookupCounts(*counts.tolist())
