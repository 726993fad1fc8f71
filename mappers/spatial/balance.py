"""Balance: how many tiles each stage of a section gets, so that its tokens pass soonest. Knows cycles by servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isqrt

# Cycles of a stage for some of its tokens, evenly spread over all, by its number of tiles; never more with more tiles.
Times = Callable[[int], Sequence[int]]
EVEN = (1.0, 0.5, 0.0)  # how far a stage may fall behind with its longest tokens: as on average, or not at all


def balanced(stages: Sequence[Times], tiles: int, *, tokens: int) -> list[int]:
    """The tiles of each stage, together at most `tiles`, of which there is one for each at least.

    Of some ways that with which the tokens pass soonest: the slowest stage as fast as can be, by its mean token or its
    longest; or the sum of all stages small, which counts where few tokens follow one another: tiles in proportion to
    the root of the stage's work.

    >>> balanced([lambda s: [90 // s], lambda s: [10 // s]], 10, tokens=100)
    [9, 1]
    """
    uneven = any(len({*times(1)}) > 1 for times in stages)
    ways = [_evenly([_cost(times, even) for times in stages], tiles) for even in (EVEN if uneven else EVEN[:1])]
    if tokens < len(stages):
        ways.append(_by_roots([_cost(times, 1.0) for times in stages], tiles))
    return min(ways, key=lambda way: passing([times(n) for times, n in zip(stages, way, strict=True)], tokens))


def passing(stages: Sequence[Sequence[int]], tokens: int, *, shared: int = 0) -> int:
    """Cycles until all tokens have passed stages that take so many for some of them, evenly spread over all.

    With equal tokens of t_i cycles in stage i, one behind the other, this is sum t_i + (tokens - 1) max t_i. A unit
    that several stages share is busy for `shared` cycles with each token.

    >>> passing([[10], [30], [20]], 50)
    1530
    """
    spread = max(map(len, stages))
    slowest = [max(shared, *(times[at * len(times) // spread] for times in stages)) for at in range(spread)]
    first = sum(times[0] for times in stages)  # which passes the slowest stage too
    return first + tokens * sum(slowest) // spread - slowest[0]


def least(cost: Callable[[int], float], target: float, most: int) -> int | None:
    """The fewest tiles with which a stage costs at most the target; None where `most` are too few."""
    if cost(most) > target:
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle) <= target else (middle + 1, high)
    return low


def _cost(times: Times, even: float) -> Callable[[int], float]:
    def cost(tiles: int) -> float:
        found = times(tiles)
        return even * sum(found) / len(found) + (1 - even) * max(found)

    return lru_cache(None)(cost)


def _evenly(costs: Sequence[Callable[[int], float]], tiles: int) -> list[int]:
    """Tiles with which the slowest stage is as fast as can be."""
    most = tiles - len(costs) + 1
    low, high = 0.0, max(cost(1) for cost in costs)  # too few cycles, and enough
    best = [1] * len(costs)
    while high - low > max(1, high / 128):
        middle = (low + high) / 2
        found = [least(cost, middle, most) for cost in costs]
        asked = [n for n in found if n is not None]
        if len(asked) == len(costs) and sum(asked) <= tiles:
            high, best = middle, asked
        else:
            low = middle
    return best


def _by_roots(costs: Sequence[Callable[[int], float]], tiles: int) -> list[int]:
    roots = [isqrt(round(cost(1))) for cost in costs]
    whole, spare = sum(roots) or 1, tiles - len(costs)
    shares = [1 + spare * root // whole for root in roots]
    # The fewest that are as fast: what a stage has no use for is left to others.
    return [least(cost, cost(share), share) or share for cost, share in zip(costs, shares, strict=True)]
