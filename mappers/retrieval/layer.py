"""How the retrieval mapper joins the ops of a layer: weights streamed through the chip, a cache chosen from, fetched.

Ops follow one another on the units that do them. Only movements run beside them: weights ahead of their op, kept keys
and values from the main memory, what is missed from the tier beyond, new rows and the oldest out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import CoreArray, ThresholdUnit
from dataflow.graph import Graph, Op
from dataflow.op import Work, work
from dataflow.pattern import Pattern, sequence
from dataflow.schedule import Section
from mappers.build.layers import name_within
from mappers.build.operands import bytes_loaded, bytes_stored, unit_for
from mappers.build.section_builder import Sketch, chunks
from mappers.retrieval.cache import FETCHES, CacheChoice
from mappers.retrieval.tiers import WEIGHTS, Tiers

# Of the memory on chip: four flows may be under way at once (the weights of an op and of the next, cached keys that are
# resident and that were fetched), each with two pieces that have come and two that the cores take.
PIECES = 16

Run = tuple[int, int, int]  # requests of a piece, bytes or tokens of each, how many such pieces


@dataclass(slots=True)
class Site:
    """A section in the making: where it is made, what it is made of, and the last load, which the next comes after.

    `fetches` says whether a fetch runs here: that of what the layer misses, or the next one where that is predicted.
    """

    graph: Graph
    design: Design
    tiers: Tiers
    scopes: tuple[str, ...]
    choice: CacheChoice | None
    fetches: bool
    sketch: Sketch = field(init=False)
    last_load: str | None = None

    def __post_init__(self) -> None:
        self.sketch = Sketch(self.scopes)

    def unit_for(self, kind: str, where: str) -> str:
        """The unit that does this kind, by name the first. Raises MappingError where none does."""
        return unit_for(kind, self.design, where=where)

    def piece_bytes(self) -> int:
        """Bytes of a piece of weights, or of keys and values, on their way through the chip."""
        return self.design.units[self.tiers.buffer].capacity // PIECES  # type: ignore[union-attr]

    def call(self, name: str, after: list[str]) -> str:
        """Notes the task as a call of its own that comes after others; returns its name."""
        self.sketch.finals[name] = [name]
        for other in after:
            self.sketch.after(other, [name])
        return name

    def computing(
        self, name: str, kind: str, runs: list[tuple[Work, int]], after: list[str], **of: object
    ) -> tuple[str, int]:
        """A task on the unit that does this kind, begun by a launch where the unit has such; its name, and how many
        firings come before those of `runs`."""
        unit = self.unit_for(kind, f"op '{name}'")
        ahead = [(work("enter"), 1)] if "enter" in self.design.units[unit].does else []
        runs = [*ahead, *runs]
        self.sketch.task(name, unit, sum(n for _, n in runs), sequence(*runs), **of)  # type: ignore[arg-type]
        return self.call(name, after), len(ahead)

    def brings(self, name: str, pieces: list[Run], reader: str, ahead: int, role: str) -> str:
        """Bytes from the main memory to the one on chip and from there to the reader, piece by piece.

        A piece, of (requests, bytes of each), for each of the reader's firings after the first ones.
        """
        sizes = [(requests * each, times) for requests, each, times in pieces]
        s, count, largest = self.sketch, sum(n for _, n in sizes), max(size for size, _ in sizes)
        if largest > self.piece_bytes():
            raise MappingError(
                f"'{name}' passes through '{self.tiers.buffer}' in pieces of {largest} B, {PIECES} of which lie there",
                resource=f"units.{self.tiers.buffer}.capacity", demand=PIECES * largest,
                capacity=PIECES * self.piece_bytes(), dimension="bytes", ways_out=("a larger capacity",),
            )  # fmt: skip
        asked = [(work("gather", requests=of, bytes=each), times) for of, each, times in pieces]
        s.task(name, self.tiers.main, count, sequence(*asked), role=role)
        s.task(f"{name} on chip", self.tiers.buffer, count, _each("read", sizes), role=role)
        s.stream(name, f"{name} on chip", 2, token_bytes=largest)
        s.stream(f"{name} on chip", reader, 2, takes=sequence((0, ahead), (1, count)), token_bytes=largest)
        return name


def section(site: Site, ops: list[Op], *, name: str = "") -> Section:
    """The section of these ops, repeated for each of the site's scopes; without ops the choice and its fetch alone."""
    after: list[str] = []
    fetched = None
    if site.choice is not None and site.fetches and (not ops or site.choice.known_ahead):
        fetched = _fetched(site, _chosen(site, []))
    for op in ops:
        called = name_within(op)
        if site.choice is not None and site.choice.is_for(op):
            _attended(site, called, after, fetched)
        else:
            _op(site, op, called, after)
        after = [called]
    family = site.scopes[0].rstrip("0123456789.")
    return site.sketch.section(name or (f"{family}s" if family else ops[0].name))


def _op(site: Site, op: Op, name: str, after: list[str]) -> None:
    """An op whose operands but weights are on chip, its weights streamed piece by piece, its new cache rows stored."""
    s = site.sketch
    s.part = op.kind
    weights = bytes_loaded(site.graph, op, roles=WEIGHTS)
    pieces, tiles = _pieces(site, op, weights)
    runs = [(item, n) for item, _, n in pieces]
    _, ahead = site.computing(name, op.kind, runs, after, op=name, tiles=tiles)
    if weights:
        role = next(site.graph.tensors[t].role for t in op.inputs if site.graph.tensors[t].role in WEIGHTS)
        s.part = ""  # it runs ahead of its op, and is blocked most of the time
        load = site.brings(f"load {name}", [(1, size, n) for _, size, n in pieces], name, ahead, role)
        site.last_load = site.call(load, [site.last_load] if site.last_load else [])
    stored = bytes_stored(site.graph, op)
    if stored:
        store = s.task(f"store {name}", site.tiers.main, 1, work("write", bytes=stored), role="cache")
        s.after(name, [store])


Piece = tuple[Work, int, int]  # work, bytes of weights, how many such


def _pieces(site: Site, op: Op, weights: int) -> tuple[list[Piece], tuple[tuple[range, range], ...]]:
    """The op in pieces whose weights fit a piece of the memory on chip, and their tiles where they have such."""
    room = site.piece_bytes()
    if op.kind == "embedding" and weights:
        rows, d = op.work.extents
        some = chunks(rows, max(1, room * rows // weights))
        return _with_bytes([(work("embedding", rows=r, d=d), count) for r, count in some], rows * d, weights), ()
    if op.kind not in ("matmul", "ternary_matmul") or not weights:
        return [(op.work, weights, 1)], ()
    m, k, n = op.work.extents
    wide, deep = _tile(site, op, room * k * n // weights)
    cut = [(work(op.kind, m=m, k=d, n=w), a * b) for w, a in chunks(n, wide) for d, b in chunks(k, deep)]
    whole = op.kind == "matmul" and deep == k
    return _with_bytes(cut, m * k * n, weights), (((range(0, m, m), range(0, n, wide)),) if whole else ())


def _tile(site: Site, op: Op, elements: int) -> tuple[int, int]:
    """Outputs and inputs of a piece of so many weights: whole rows of the unit's trees where these fit, else part."""
    _, k, n = op.work.extents
    unit = site.design.units[site.unit_for(op.kind, f"op '{op.name}'")]
    trees, inputs = (unit.trees, unit.inputs) if isinstance(unit, CoreArray) else (1, 1)
    if elements >= k * min(n, trees):
        return min(n, max(1, elements // k // trees) * trees), k
    wide = min(n, trees, max(1, elements))
    deep = elements // wide
    return wide, max(1, deep // inputs * inputs or deep)


def _with_bytes(cut: list[tuple[Work, int]], total: int, weights: int) -> list[Piece]:
    """The works with their share of the weights, as their extents have of `total`; rounded up, the last one less."""
    found: list[Piece] = []
    left = weights
    for item, count in cut:
        extent = item.counts().get("mac", item.elements)
        size = -(-weights * extent // total)
        fits = min(count, left // size) if size else count
        found += [(item, size, fits)] if fits else []
        left -= size * fits
        for _ in range(count - fits):
            found.append((item, min(size, left), 1))
            left -= min(size, left)
    return found


def _attended(site: Site, name: str, after: list[str], fetched: str | None) -> None:
    """Attention to the new rows and to what is resident, then to what is fetched as it comes.

    `fetched` is what has been fetched so far for this layer, or for the next one where those are predicted.
    """
    choice, s = site.choice, site.sketch
    assert choice is not None
    known: list[str] = []
    if not choice.known_ahead:
        known = after = _chosen(site, after)
        fetched = _fetched(site, after)
    comes = fetched if choice.prediction == "this" else None
    s.part = "attention"
    near = list(choice.near(_tokens_of_a_piece(site)))
    if not comes:  # what was fetched for this layer lies in one stretch
        near += [(1, tokens, n) for tokens, n in _sized(site, [(choice.batch * choice.misses, 1)])]
    runs = [(choice.new_work(), 1), *((choice.kept_work(of * each), n) for of, each, n in near)]
    task, ahead = site.computing(name, "attention", runs, after, op=name)
    if near:
        site.call(_read(site, "read kept", near, task, ahead + 1), known)
    if comes:
        s.part = "fetch"
        far = _sized(site, [(of * each, times) for of, each, times in choice.fetches()])
        runs = [(choice.kept_work(tokens), n) for tokens, n in far]
        task, ahead = site.computing(f"{name} to fetched", "attention", runs, [name], op=name)
        s.finals[name] = [task]
        read = _read(site, "read fetched", [(1, tokens, n) for tokens, n in far], task, ahead)
        s.stream(comes, read, s.tasks[comes].firings, takes=_per_piece(site))
    _evicted(site, after)


def _read(site: Site, name: str, pieces: list[Run], reader: str, ahead: int) -> str:
    """Cached tokens, a piece of (requests, tokens of each) for each of the reader's firings after the first ones."""
    assert site.choice is not None
    size = site.choice.token_bytes
    return site.brings(name, [(of, each * size, n) for of, each, n in pieces], reader, ahead, "cache")


def _sized(site: Site, tokens: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of tokens cut so that each fits a piece of the memory on chip: (tokens, how many such)."""
    return [run for of, times in tokens for run in _repeated(chunks(of, _tokens_of_a_piece(site)), times)]


def _tokens_of_a_piece(site: Site) -> int:
    assert site.choice is not None
    return max(1, site.piece_bytes() // site.choice.token_bytes)


def _repeated(runs: list[tuple[int, int]], times: int) -> list[tuple[int, int]]:
    if len(runs) == 1:
        return [(runs[0][0], runs[0][1] * times)]
    return runs * times


def _per_piece(site: Site) -> Pattern[int]:
    """How many fetched pieces each read of fetched tokens waits for: one at the first read of a piece, else none."""
    assert site.choice is not None
    runs = []
    for of, each, times in site.choice.fetches():
        reads = sum(n for _, n in chunks(of * each, _tokens_of_a_piece(site)))
        runs += [(1, 1), (0, reads - 1)] * times if reads > 1 else [(1, times)]
    return sequence(*runs)


def _chosen(site: Site, after: list[str]) -> list[str]:
    """The choice: its works one after another, sequence by sequence, its metadata read before they are scored."""
    choice, s = site.choice, site.sketch
    assert choice is not None
    s.part = "selection"
    if choice.step.metadata_read_bytes:
        read = work("read", bytes=choice.step.metadata_read_bytes)
        s.task("read metadata", site.tiers.main, choice.batch, read, role="metadata")
        after = [*after, site.call("read metadata", after)]
    for place, item in enumerate(choice.step.works, start=1):
        item = _as_done(site, item)
        _check_passes(site, item)
        name, _ = site.computing(f"select {place} {item.kind}", item.kind, [(item, choice.batch)], after)
        after = [name]
    return after


def _check_passes(site: Site, item: Work) -> None:
    """Raises MappingError where a row makes more bucket passes than the threshold unit has buckets."""
    name = site.unit_for(item.kind, "the selection")
    unit = site.design.units[name]
    if isinstance(unit, ThresholdUnit) and item["passes"] > item["rows"] * unit.buckets:
        raise MappingError(
            "the selection's rule cuts a row's scores into more buckets than the threshold unit",
            resource=f"units.{name}.buckets",
            demand=-(-item["passes"] // item["rows"]), capacity=unit.buckets,
            ways_out=("fewer selection.settings.buckets", "more buckets"),
        )  # fmt: skip


def _as_done(site: Site, item: Work) -> Work:
    """The work, or what it is to a design without a unit for it: comparisons."""
    if any(item.kind in unit.does for unit in site.design.units.values()):
        return item
    return work("compare", comparisons=item.elements) if item.kind in ("hash_compare", "threshold") else item


def _fetched(site: Site, after: list[str]) -> str | None:
    """What is missed, from the tier beyond over the channels into the main memory; the last task, if there is any."""
    choice, s, tiers = site.choice, site.sketch, site.tiers
    assert choice is not None
    fetches = list(choice.fetches())
    if not fetches:
        return None
    assert tiers.beyond is not None
    s.part = "fetch"
    pieces, size = sum(times for _, _, times in fetches), choice.token_bytes
    gather = [(work("gather", requests=of, bytes=each * size), times) for of, each, times in fetches]
    sizes = [(of * each * size, times) for of, each, times in fetches]
    s.task("fetch", tiers.beyond, pieces, sequence(*gather), role="fetched")
    if any("issue" in unit.does for unit in site.design.units.values()):
        runs = [(work("issue", requests=of), times) for of, _, times in fetches]
        name, ahead = site.computing("issue", "issue", runs, after)
        s.stream(name, "fetch", 2, gives=sequence((0, ahead), (1, pieces)))
    else:
        site.call("fetch", after)
    last, largest = "fetch", max(moved for moved, _ in sizes)
    for channel in tiers.channels:
        s.task(f"fetch over {channel}", channel, pieces, _each("move", sizes))
        s.stream(last, f"fetch over {channel}", pieces if last == "fetch" else 2, token_bytes=largest)
        last = f"fetch over {channel}"
    s.task("fetched", tiers.main, pieces, _each("write", sizes), role="fetched")
    s.stream(last, "fetched", 2, token_bytes=largest)
    return "fetched"


def _evicted(site: Site, after: list[str]) -> None:
    """The oldest resident rows leave for the tier beyond where the new ones find no room."""
    choice, s, tiers = site.choice, site.sketch, site.tiers
    assert choice is not None
    if not choice.evicted or tiers.beyond is None:
        return
    s.part = "eviction"
    total = choice.batch * choice.evicted * choice.layer_token_bytes
    request = site.design.units[tiers.beyond].request_bytes or total  # type: ignore[union-attr]
    cut = chunks(total, request * -(-total // (request * FETCHES)))  # whole requests, as one stretch has
    pieces, largest = sum(count for _, count in cut), max(size for size, _ in cut)
    last = s.task("evict", tiers.main, pieces, _each("read", cut), role="evicted")
    site.call(last, after)
    for channel in tiers.channels:
        s.task(f"evict over {channel}", channel, pieces, _each("move", cut))
        s.stream(last, f"evict over {channel}", 2, token_bytes=largest)
        last = f"evict over {channel}"
    s.task("evicted", tiers.beyond, pieces, _each("write", cut), role="evicted")
    s.stream(last, "evicted", 2, token_bytes=largest)


def _each(kind: str, sizes: list[tuple[int, int]]) -> Pattern[Work]:
    """A movement for each size: (bytes, how many such)."""
    return sequence(*((work(kind, bytes=size), count) for size, count in sizes))
