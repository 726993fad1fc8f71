"""Selection of clusters of similar keys: hashes decide which keys are similar, weighted scores which clusters are kept.

Knows hashing, joining and scoring. Does not know where the tokens of a cluster lie in memory.
"""

from dataclasses import dataclass

import numpy as np

from kernels.limits import BUCKETS
from kernels.machine_code import compiled
from kernels.selection.algorithm import Algorithm, CacheShape, Counters, Growing, State, check_count, check_share
from kernels.selection.positions import sink_and_recent
from kernels.selection.ranking import ONE_THREAD, scores_of
from kernels.selection.threshold import NEGATIVE, keep_to_ratio

ID_BYTES, COUNT_BYTES = 4, 2


def hash_keys(keys: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Return the hashes of keys, uint64 [keys]: each bit tells on which side of a hyperplane the key lies.

    keys float [keys, dims], planes float64 [bits, dims]; bit b is set when keys . planes[b] > 0, in FP64, so that in
    practice the order of the additions does not matter. Source: arXiv 2512.12284.

    >>> hash_keys(np.array([[1.0, -2.0], [3.0, 1.0], [0.0, 1.0]]), np.eye(2)).tolist()
    [1, 3, 2]
    """
    keys = keys.astype(np.float64)
    # In blocks that BLAS computes in one thread; see ONE_THREAD.
    block = max(1, ONE_THREAD // planes.size)
    whole = len(keys) // block * block
    sides = np.empty((len(keys), len(planes)))
    tiles = keys[:whole].reshape(-1, block, keys.shape[1])
    np.matmul(tiles, planes.T, out=sides[:whole].reshape(-1, block, len(planes)))
    np.matmul(keys[whole:], planes.T, out=sides[whole:])
    return ((sides > 0).astype(np.uint64) << np.arange(len(planes), dtype=np.uint64)).sum(axis=1, dtype=np.uint64)


@compiled(nogil=True)
def _distance(a: np.uint64, b: np.uint64) -> int:
    # Population count: sums of neighbouring fields of 1, 2 and 4 bits, then of all bytes by one multiplication.
    x = a ^ b
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled(nogil=True)
def join_clusters(current: np.ndarray, cached: np.ndarray, hamming: int, nearest: bool) -> np.ndarray:
    """Return the cluster of each current hash, int64 [current]; new clusters get the numbers after the cached ones.

    current, cached uint64. Candidates in this order: the cached clusters, then the earlier current hashes, which stand
    for their clusters. Of the candidates nearer than hamming, a hash joins the nearest or, with nearest False, the
    first; among equals the first.

    >>> current, cached = np.array([0b0001, 0b1110, 0b1111], dtype=np.uint64), np.zeros(1, dtype=np.uint64)
    >>> join_clusters(current, cached, 2, True).tolist()
    [0, 1, 1]
    """
    joined = np.empty(len(current), dtype=np.int64)
    clusters = len(cached)
    for i in range(len(current)):
        # A distance has to be below best, so hamming itself is too far and an equal later one changes nothing.
        best, found = hamming, -1
        for c in range(len(cached)):
            distance = _distance(current[i], cached[c])
            if distance < best:
                best, found = distance, c
                if not nearest:
                    break
        if found < 0 or nearest:
            for j in range(i):
                distance = _distance(current[i], current[j])
                if distance < best:
                    best, found = distance, joined[j]
                    if not nearest:
                        break
        if found < 0:
            found = clusters
            clusters += 1
        joined[i] = found
    return joined


@compiled(nogil=True)
def _add_rows(sums: np.ndarray, joined: np.ndarray, keys: np.ndarray) -> None:
    """Add each key [heads, d] to the sum of the cluster it joined, in their order."""
    for i in range(len(joined)):
        into, key = sums[joined[i]], keys[i]
        for h in range(key.shape[0]):
            for c in range(key.shape[1]):
                into[h, c] += key[h, c]


@dataclass(frozen=True, slots=True)
class Table:
    """One set of clusters.

    members: rows int64, the cluster of each token · sums: float32 [clusters, heads, d], of the members' keys; the mean
    is sums / counts · hashes: uint64 [clusters] · counts: int64 [clusters], numbers of members.
    """

    members: Growing
    sums: np.ndarray
    hashes: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True, slots=True)
class Clusters:
    """Data of HashClusters: its hyperplanes, float64 [bits, dims], and one table per set of heads."""

    planes: np.ndarray
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class HashClusters(Algorithm):
    """Cluster keys by their hashes, and keep the clusters that carry `ratio` of a row's weighted scores.

    1. `bits` random hyperplanes, drawn from `seed`, hash each key. 2. A key joins a cluster at a distance below
    `hamming`, else it opens one. 3. Each row, a query token in one head, scores the mean keys. 4. keep_to_ratio selects
    clusters. 5. All KV heads keep the clusters that any row selects, and the last `recent` tokens; KV heads that
    cluster apart keep their own. Source: arXiv 2512.12284: 32 bits, 7 (strictly below), 0.3. What it leaves open:

    - buckets: 20, as in its worked example. None sorts; no unit is modelled for that.
    - negative: the weight of a negative score, by "shift" (by the row's minimum), "raw", "clamp" or "exp". Shifted
      scores are never negative, like the weights of a softmax, and pass 1 of the threshold unit finds the minimum.
    - ties: "nearest" or "first" of the clusters near enough. The comparator computes all distances in both cases.
    - rehash: True hashes the mean of the members again after a chunk; False keeps the first member's hash. True,
      because the source's table holds the mean key and its hash.
    - apart: False clusters the keys of all KV heads concatenated, one table per layer; True has one table per KV head.
      False, because the source's table of 1.67 % of the cache at 32 tokens per cluster fits one table per layer (2186
      of 131,072 B) and not one per head (394 of 16,384 B, 2.4 %).
    - recent: 0, because the memory decides how many tokens are resident.

    Bytes per KV head: C d b for C clusters, plus the kept tokens. An id of 4 B, the hash and a count of 2 B per cluster
    and an id of 4 B per token are held too, on chip or beside the tokens, and not counted as read by a select. An
    update compares each new hash with all C and with the earlier ones of its chunk, and reads the C hashes and the
    means that it hashes again. Multiply-adds: 32 dims per new key and joined mean, C d per row.
    Raises ValueError for a ratio outside 0 to 1, bits outside 1 to 64, a distance above bits + 1.

    Keys 4, 4, -2 are two clusters; shifted by the lowest score, the first has all the weight:

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> state = update(start(CacheShape(4, 1, 1, 1), HashClusters()), np.array([4, 4, -2]).reshape(3, 1, 1))
    >>> kept = select(state, np.ones((1, 1, 1)))
    >>> kept.mask.tolist(), state.counts.hash_comparisons, kept.counts.ranked
    ([[True, True, False]], 3, ((1, 2, 1),))
    """

    bits: int = 32
    hamming: int = 7
    ratio: float = 0.3
    buckets: int | None = 20
    negative: str = "shift"
    ties: str = "nearest"
    rehash: bool = True
    apart: bool = False
    recent: int = 0
    seed: int = 0

    def check(self, shape: CacheShape) -> None:
        check_count("bits", self.bits, most=64, of="bits", holder="a hash holds")
        needed = f"hashes of {self.bits} bits need at most"
        check_count("hamming", self.hamming, least=0, most=self.bits + 1, of="bits", holder=needed)
        check_share("ratio", self.ratio)
        if self.buckets is not None:
            check_count("buckets", self.buckets, most=BUCKETS, of="buckets", holder="a row of scores has at most")
        if self.negative not in NEGATIVE:
            raise ValueError(f"negative: {self.negative!r} offers no score; take one of {', '.join(NEGATIVE)}")
        if self.ties not in ("nearest", "first"):
            raise ValueError(f"ties: {self.ties!r} decides nothing; take 'nearest' or 'first'")
        check_count("recent", self.recent, least=0, most=shape.tokens)
        check_count("seed", self.seed, least=0)

    def check_timed(self) -> None:
        if self.buckets is None:
            message = "got nothing, which sorts the scores; no unit has a time for that; give a number such as 20"
            raise ValueError(f"buckets: {message}")

    def clusters(self, state: State) -> np.ndarray:
        rows = [table.members.array[: state.tokens] for table in state.held.tables]
        return np.broadcast_to(np.array(rows), (state.shape.kv_heads, state.tokens))

    def _sets(self, shape: CacheShape) -> list[slice]:
        """Return the KV heads of each set."""
        return [slice(h, h + 1) for h in range(shape.kv_heads)] if self.apart else [slice(0, shape.kv_heads)]

    @property
    def _hash_bytes(self) -> int:
        return -(-self.bits // 8)

    def begin(self, shape: CacheShape) -> Clusters:
        heads = 1 if self.apart else shape.kv_heads
        planes = np.random.default_rng(self.seed).standard_normal((self.bits, heads * shape.head_dim))
        none = np.zeros((0, heads, shape.head_dim), dtype=np.float32)
        hashes, counts = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
        members = [Growing(shape.tokens, (), np.int64) for _ in self._sets(shape)]
        return Clusters(planes, tuple(Table(m, none, hashes, counts) for m in members))

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Clusters, Counters]:
        held, counts, tables = state.held, Counters(), []
        for table, heads in zip(held.tables, self._sets(state.shape), strict=True):
            grown, more = self._join(table, keys[:, heads], held.planes, state)
            tables.append(grown)
            counts += more
        return Clusters(held.planes, tuple(tables)), counts

    def _join(self, table: Table, keys: np.ndarray, planes: np.ndarray, state: State) -> tuple[Table, Counters]:
        """Return one table after keys [new, heads, d] joined it, and the counts."""
        new, old, dims = len(keys), len(table.hashes), planes.shape[1]
        current = hash_keys(keys.reshape(new, dims), planes)
        joined = join_clusters(current, table.hashes, self.hamming, self.ties == "nearest")
        touched, first = np.unique(joined, return_index=True)
        # touched rises, and new clusters are numbered without gaps.
        clusters = max(old, int(touched[-1]) + 1)
        sums = np.concatenate([table.sums, np.zeros((clusters - old, *keys.shape[1:]), dtype=np.float32)])
        _add_rows(sums, joined, np.ascontiguousarray(keys))
        hashes = np.concatenate([table.hashes, np.zeros(clusters - old, dtype=np.uint64)])
        # A new cluster starts with the hash of its first member.
        opened = touched >= old
        hashes[touched[opened]] = current[first[opened]]
        # The sum lies on the same side of every hyperplane as the mean, so nothing is divided.
        if self.rehash:
            hashes[touched] = hash_keys(sums[touched].reshape(len(touched), dims), planes)
        counts = np.bincount(joined, minlength=clusters)
        counts[:old] += table.counts
        rehashed = len(touched) * self.rehash
        means_read = int((~opened).sum()) * dims * state.shape.element_bytes
        comparisons = new * old + new * (new - 1) // 2
        done = Counters(
            metadata_read_bytes=old * self._hash_bytes + means_read, multiply_adds=(new + rehashed) * dims * self.bits,
            additions=new * dims, hash_comparisons=comparisons, hashed=((new, old, self.bits),),
        )  # fmt: skip
        return Table(table.members.append(joined, state.tokens), sums, hashes, counts), done

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        shape, done = state.shape, Counters()
        mask = np.tile(sink_and_recent(state.tokens, 0, self.recent), (shape.kv_heads, 1))
        for table, heads in zip(state.held.tables, self._sets(shape), strict=True):
            own = queries[:, heads.start * shape.share : heads.stop * shape.share]
            kept, counts = self._keep(table, own, shape)
            mask[heads] |= kept[table.members.array[: state.tokens]]
            done += counts
        return mask, done

    def _keep(self, table: Table, queries: np.ndarray, shape: CacheShape) -> tuple[np.ndarray, Counters]:
        """Return which clusters queries [rows, heads, d] keep, and the counts."""
        products = scores_of(queries, table.sums)
        clusters = products.shape[2]
        # q . mean = q . sum / count. In FP64, because keep_to_ratio sums in FP64.
        scores = products.reshape(-1, clusters) / table.counts.astype(np.float64)
        kept, _, passes = keep_to_ratio(
            scores, table.counts, ratio=self.ratio, buckets=self.buckets, negative=self.negative,
            scale=shape.head_dim**-0.5,
        )  # fmt: skip
        # Each row takes one pass for its sum and range, and one for each bucket down to the threshold.
        read, multiplied = table.sums.size * shape.element_bytes, products.size * shape.head_dim
        compared = clusters * int((1 + passes).sum())
        ranked = ((len(passes), clusters, int(passes.sum())),) if self.buckets else ()
        return kept, Counters(read, multiply_adds=multiplied, comparisons=compared, ranked=ranked)

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Clusters) -> int:
        rows = sum(table.sums.size * shape.element_bytes for table in held.tables)
        clusters = sum(len(table.counts) for table in held.tables)
        return rows + clusters * (ID_BYTES + self._hash_bytes + COUNT_BYTES) + ID_BYTES * tokens * len(held.tables)
