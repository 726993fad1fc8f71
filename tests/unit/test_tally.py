"""Tally: the sum of counts, brought up to date, is the sum counted anew."""

from archsim.run.tally import tally


def letters(text):
    return {letter: text.count(letter) for letter in set(text)}


def test_a_tally_like_another_is_the_one_counted_anew():
    first = tally(("ab", "b"), letters)
    assert first.sums == {"a": 1, "b": 2}
    for items in (("ab", "c"), ("b", "ab"), ("c", "d"), ("ab", "b", "b"), ("ab",), ("a" + "b", "bc")):
        assert tally(items, letters, like=first) == tally(items, letters)


def test_what_is_the_same_object_is_not_counted_again():
    first = tally(("ab", "c"), letters)
    counted = []

    def count(text):
        counted.append(text)
        return letters(text)

    tally((first.items[0], "d"), count, like=first)
    assert counted == ["d"]


def test_what_counts_nothing_any_more_is_left_out():
    first = tally(("ab", "c"), letters)
    assert tally((first.items[0], "a"), letters, like=first).sums == {"a": 2, "b": 1}
    assert tally(("x",), lambda _: {"none": 0}).sums == {}
