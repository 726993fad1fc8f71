"""Files of streams and of selections, and Replay, which repeats a recorded selection. No other kernel uses files.

Knows .npz archives of plain arrays, never pickled objects. Knows only the extents of a model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from kernels.npz import read_arrays, read_headers
from kernels.selection.algorithm import Algorithm, CacheShape, Counters, SelectedKeys, State
from kernels.selection.streams import Stream, check_extents, recorded_stream

_STREAM = ("keys", "values", "queries", "frame", "questions", "needles", "mass")
_SELECTION = ("bits", "heads", "tokens", "counts", "hashed", "ranked")
_NUMBERS = len(Counters().numbers())
# Older files end each row with two cycle counts. Units derive cycles from the sets, so loading drops them.
_OLDER_NUMBERS = _NUMBERS + 2


@contextmanager
def _readable(path: str | PathLike[str], names: tuple[str, ...]) -> Iterator[None]:
    """Names the file where it is no such archive, or lacks an array."""
    try:
        yield
    except KeyError as missing:
        raise ValueError(f"{path}: {missing.args[0]}; give {', '.join(names)}") from missing
    except ValueError as problem:
        raise ValueError(f"{path}: cannot be read as .npz ({problem}); give a file that was saved here") from problem


def save_stream(path: str | PathLike[str], stream: Stream) -> None:
    """Write a stream as .npz, an array for each of its fields."""
    # Through an open file, because np.savez adds .npz to a path without it.
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **{name: np.asarray(getattr(stream, name)) for name in _STREAM})


def load_stream(path: str | PathLike[str], *, shape: CacheShape | None = None) -> Stream:
    """Return a saved stream, or one whose arrays another program wrote under the same names.

    Raises ValueError for a file that is not such an archive, arrays that do not fit each other, or, where a shape is
    given, a stream of other heads or head size, or of more tokens than the shape holds.
    """
    with _readable(path, _STREAM):
        headers = read_headers(path, _STREAM)
    for name in ("frame", "mass"):
        found = headers[name]
        if found.shape != () or found.dtype.kind not in "iuf":
            raise ValueError(f"{path}: {name}: shape {found.shape} of {found.dtype}; give one number")
    try:
        held = check_extents(**{name: headers[name] for name in ("keys", "values", "queries", "questions", "needles")})
        if shape is not None:
            _check_fit(held, shape)
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from problem
    with _readable(path, _STREAM):
        arrays = read_arrays(path, _STREAM)
    try:
        return recorded_stream(
            arrays["keys"], arrays["values"], queries=arrays["queries"], frame=arrays["frame"].item(),
            questions=arrays["questions"], needles=arrays["needles"], mass=arrays["mass"].item(),
        )  # fmt: skip
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from problem


def _check_fit(found: CacheShape, wanted: CacheShape) -> None:
    for name in ("heads", "kv_heads", "head_dim"):
        have, want = getattr(found, name), getattr(wanted, name)
        if have != want:
            raise ValueError(f"{name}: the recording has {have}, the model {want}; record one of {want}")
    if found.tokens > wanted.tokens:
        raise ValueError(f"tokens: {found.tokens} recorded, the cache holds {wanted.tokens}; take a larger cache")


def save_selection(path: str | PathLike[str], kept: Sequence[SelectedKeys]) -> None:
    """Write the selection of each step as .npz.

    bits: all masks packed · heads, tokens: int64 [steps] · counts: int64 [steps, numbers of Counters] · hashed, ranked:
    int64 [sets, 4], the step of each set and its three numbers.
    """
    # Masks differ in shape from step to step, so all are one string of bits. concatenate needs one array or more.
    masks = [step.mask for step in kept]
    bits = np.packbits(np.concatenate([np.zeros(0, dtype=bool), *(mask.ravel() for mask in masks)]))
    shapes = np.array([mask.shape for mask in masks], dtype=np.int64).reshape(-1, 2)
    counts = np.array([step.counts.numbers() for step in kept], dtype=np.int64).reshape(-1, _NUMBERS)
    hashed, ranked = (
        np.array([(i, *own) for i, step in enumerate(kept) for own in getattr(step.counts, name)], dtype=np.int64)
        for name in ("hashed", "ranked")
    )
    sets = {"hashed": hashed.reshape(-1, 4), "ranked": ranked.reshape(-1, 4)}
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, bits=bits, heads=shapes[:, 0], tokens=shapes[:, 1], counts=counts, **sets)


def load_selection(path: str | PathLike[str]) -> tuple[SelectedKeys, ...]:
    """Return the selection of each step of a saved file, of the form with cycle counts too.

    Raises ValueError for a file that is not such an archive or whose arrays do not fit each other.
    """
    with _readable(path, _SELECTION):
        headers = read_headers(path, _SELECTION)
    heads, tokens, counts = (headers[name] for name in ("heads", "tokens", "counts"))
    widths = [(*heads.shape, numbers) for numbers in (_NUMBERS, _OLDER_NUMBERS)]
    if heads.ndim != 1 or tokens.shape != heads.shape or counts.shape not in widths:
        found = f"heads {heads.shape}, tokens {tokens.shape}, counts {counts.shape}"
        raise ValueError(f"{path}: {found} differ in steps; give [steps], [steps], [steps, {_NUMBERS}]")
    wrong = f"{path}: heads, tokens and counts are no whole numbers from 1 on; give such"
    if {a.dtype.kind for a in (heads, tokens, counts)} - {"i", "u"}:
        raise ValueError(wrong)
    for name in ("hashed", "ranked"):
        rows = headers[name]
        if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iu":
            raise ValueError(f"{path}: {name}: shape {rows.shape} of {rows.dtype}; give whole numbers [sets, 4]")
    with _readable(path, _SELECTION):
        arrays = read_arrays(path, _SELECTION)
    # Python's own numbers, because products of those of an array wrap around.
    heads, tokens, counts = (arrays[name].tolist() for name in ("heads", "tokens", "counts"))
    if min([1, *heads, *tokens]) < 1:
        raise ValueError(wrong)
    hashed, ranked = (_sets(path, name, arrays[name], len(heads)) for name in ("hashed", "ranked"))
    sizes = [h * n for h, n in zip(heads, tokens, strict=True)]
    bits = arrays["bits"]
    if bits.dtype != np.uint8 or bits.shape != (-(-sum(sizes) // 8),):
        needed = -(-sum(sizes) // 8)
        raise ValueError(f"{path}: bits: shape {bits.shape} of {bits.dtype}; give {needed} bytes for {sum(sizes)} bits")
    parts = np.split(np.unpackbits(bits, count=sum(sizes)).astype(bool), np.cumsum(sizes))
    # Not strict: np.split gives one part more, behind the last step.
    shapes = zip(parts, heads, tokens, counts, hashed, ranked, strict=False)
    return tuple(
        SelectedKeys(part.reshape(h, n), Counters(*row[:_NUMBERS], *sets)) for part, h, n, row, *sets in shapes
    )


def _sets(path: str | PathLike[str], name: str, rows: np.ndarray, steps: int) -> list[tuple[tuple[int, ...], ...]]:
    """Return the sets of each step from rows [sets, 4]: the step and three numbers."""
    if len(rows) and (rows.min() < 0 or rows[:, 0].max() >= steps):
        raise ValueError(f"{path}: {name}: a set of no step or of negative numbers; the steps are 0 to {steps - 1}")
    by_step: list[list[tuple[int, ...]]] = [[] for _ in range(steps)]
    for step, *numbers in rows.tolist():
        by_step[step].append(tuple(numbers))
    return [tuple(sets) for sets in by_step]


@dataclass(frozen=True, slots=True, eq=False)
class Replay(Algorithm):
    """Keep what a recorded selection kept, one step per update; keys and queries have no effect.

    The counts are the recorded ones, except kv_read_bytes, which follow from the kept tokens. Raises ValueError when
    there are more updates than steps, or a step was recorded for another number of tokens or heads.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> options = Replay((SelectedKeys(np.array([[True, False]]), Counters(comparisons=7)),))
    >>> kept = select(update(start(CacheShape(2, 1, 1, 1), options), np.ones((2, 1, 1))), np.ones((1, 1, 1)))
    >>> kept.mask.tolist(), kept.counts.comparisons, kept.counts.kv_read_bytes
    ([[True, False]], 7, 4)
    """

    steps: tuple[SelectedKeys, ...]

    def check(self, shape: CacheShape) -> None:
        for index, step in enumerate(self.steps):
            if len(step.mask) not in (shape.kv_heads, shape.heads) or step.mask.shape[1] > shape.tokens:
                wanted = f"{shape.kv_heads} or {shape.heads} heads and at most {shape.tokens} tokens"
                raise ValueError(f"steps[{index}]: a mask of shape {step.mask.shape} does not fit; give {wanted}")

    def begin(self, shape: CacheShape) -> int:
        return 0

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[int, Counters]:
        return state.held + 1, Counters()

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        if state.held > len(self.steps):
            raise ValueError(f"steps: {len(self.steps)} recorded, this is step {state.held}; replay at most as many")
        step = self.steps[state.held - 1]
        if step.mask.shape[1] != state.tokens:
            found, at = step.mask.shape[1], f"steps[{state.held - 1}]"
            raise ValueError(f"{at}: recorded for {found} tokens, the cache has {state.tokens}; replay the same chunks")
        # select() adds the K and V of the kept tokens, so they must not be counted here as well.
        return step.mask, replace(step.counts, kv_read_bytes=0)

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Any) -> int:
        return 0
