"""The Pareto front equals its definition, each row against each, for one figure and for several."""

from hypothesis import given
from hypothesis import strategies as st

from archsim.report.rows.pareto import pareto
from archsim.report.rows.row import Row

FIGURE = st.none() | st.integers(0, 3)
POINT = st.tuples(FIGURE, FIGURE, FIGURE, st.sampled_from(["done", "done", "done", "outside"]))


@given(st.lists(POINT, max_size=12), st.sampled_from([("a", ""), ("", "b"), ("a", "b"), ("ab", "c"), ("", "abc")]))
def test_the_front_is_what_no_other_beats(points, named):
    least, most = (list(names) for names in named)
    rows = [Row({}, dict(zip("abc", point, strict=False)), status=point[3]) for point in points]

    def cost(row):
        return [row["abc".index(name)] * sign for names, sign in ((least, 1), (most, -1)) for name in names]

    there = [i for i, one in enumerate(points) if one[3] == "done" and None not in [rows[i][n] for n in least + most]]
    costs = {i: cost(points[i]) for i in there}

    def beats(one, other):
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    expected = [i for i in there if not any(beats(costs[j], costs[i]) for j in there)]
    assert [id(row) for row in pareto(rows, least=least, most=most)] == [id(rows[i]) for i in expected]
