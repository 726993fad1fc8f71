"""Places of streams in a memory: what lies there during one op never overlaps, and little room is lost between."""

import random

import pytest

from dataflow.task import Stream
from mappers.tiled.builder import Life, placed


def drawn(seed: int) -> tuple[list[Stream], dict[str, Life]]:
    """Streams of ops one after another, a few of each, some of which are there an op early, and some until the end."""
    rng = random.Random(seed)
    streams: list[Stream] = []
    lives: dict[str, Life] = {}
    for turn in range(rng.randint(1, 8)):
        for i in range(rng.randint(1, 4)):
            one = Stream(f"{turn}.{i}", rng.randint(1, 3), rng.choice((0, 1, 64, 1000, 4096)), memory=rng.choice("ab"))
            streams.append(one)
            lives[one.name] = Life(turn - rng.randint(0, 1), turn + rng.choice((0, 0, 0, 3)))
    return [*streams, Stream("outside", 1, 8)], lives | {"outside": Life(0, 0)}


@pytest.mark.parametrize("seed", range(60))
def test_streams_that_live_at_once_lie_apart(seed: int) -> None:
    streams, lives = drawn(seed)
    found = placed(streams, lives)
    assert [one.name for one in found] == [one.name for one in streams]
    for one, was in zip(found, streams, strict=True):
        assert (one.at is not None) == bool(was.memory and was.bytes_per_token)
    lying = [one for one in found if one.at is not None]
    for i, one in enumerate(lying):
        for other in lying[:i]:
            if one.memory == other.memory and lives[one.name].meets(lives[other.name]):
                assert not set(range(one.at, one.at + one.bytes)) & set(range(other.at, other.at + other.bytes))


@pytest.mark.parametrize("seed", range(60))
def test_no_more_than_half_as_much_again_is_taken_as_must_lie_there_at_once(seed: int) -> None:
    """The least is the most that lives at one time, counted op by op; all beside each other would be the sum."""
    streams, lives = drawn(seed)
    for memory in "ab":
        lying = [one for one in placed(streams, lives) if one.at is not None and one.memory == memory]
        at_once = max(
            (sum(one.bytes for one in lying if lives[one.name].meets(Life(turn, turn))) for turn in range(-1, 12)),
            default=0,
        )
        taken = max((one.at + one.bytes for one in lying if one.at is not None), default=0)
        assert at_once <= taken <= 1.5 * at_once
