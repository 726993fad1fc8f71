"""Tally: the sum of counts, brought up to date, is the sum counted anew."""

from archsim.engine.memo import Memo
from archsim.run.tally import tally


def letters(text):
    return {letter: text.count(letter) for letter in set(text)}


def after(first, items, count=letters):
    """The tally of these items once the first have been counted."""
    memo = Memo()
    tally("letters", first, letters, memo)
    return tally("letters", items, count, memo)


def test_a_tally_after_another_is_the_one_counted_anew():
    first = ("ab", "b")
    assert after(first, first).sums == {"a": 1, "b": 2}
    for items in (("ab", "c"), ("b", "ab"), ("c", "d"), ("ab", "b", "b"), ("ab",), ("a" + "b", "bc")):
        assert after(first, items) == tally("letters", items, letters, Memo())


def test_tallies_of_other_names_are_apart():
    memo = Memo()
    tally("letters", ("ab",), letters, memo)
    assert tally("lengths", ("ab",), lambda text: {"length": len(text)}, memo).sums == {"length": 2}


def test_what_is_the_same_object_is_not_counted_again():
    first, counted = ("ab", "c"), []

    def count(text):
        counted.append(text)
        return letters(text)

    after(first, (first[0], "d"), count)
    assert counted == ["d"]


def test_what_counts_nothing_any_more_is_left_out():
    first = ("ab", "c")
    assert after(first, (first[0], "a")).sums == {"a": 2, "b": 1}
    assert tally("none", ("x",), lambda _: {"none": 0}, Memo()).sums == {}
