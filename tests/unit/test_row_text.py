"""What a person reads of rows: the best ones first, values with units, and every caveat of what is shown."""

import re
from html import unescape

import pytest

from archsim import load_design
from archsim.report.rows.goal import Goal
from archsim.report.rows.row import Row
from archsim.report.rows.text import MOST_LINES, rows_html, rows_text
from mappers import sweep

TOY = load_design("toy")
BANDWIDTH = "units.ddr.bandwidth"


def row(bandwidth, seconds=None, joules=None, *, caveats=(), **said):
    return Row({BANDWIDTH: bandwidth, "context": 3}, {"seconds": seconds, "energy_joules": joules}, caveats, **said)


REFUSED = Row({BANDWIDTH: "fast", "context": 3}, status="refused", problem="designs/toy.yaml with a=1: b: <no>\nand c")
ROWS = [
    row("1 B/cycle", 3e-6, 4, caveats=("slow", "dim")), row("2 B/cycle", 2e-6, 6, caveats=("dim",)),
    row("3 B/cycle", 2e-6, 5, caveats=("late", "slow")), REFUSED,
    row("4 MB/s", 1e-6, 1, status="outside", problem="seconds: 1 is above 0"),
]  # fmt: skip


def test_the_text_written_by_hand():
    goal = Goal(least=("seconds", "energy_joules"))
    assert rows_text(ROWS, "head", design=TOY, goal=goal).splitlines() == [
        "head",
        "first those that no other beats (*): least seconds, least energy_joules",
        " #  units.ddr.bandwidth  seconds  energy_joules  status   caveats  problem",
        "2*               3 MB/s  2.00 us         5.00 J  done     1-2",
        "0*               1 MB/s  3.00 us         4.00 J  done     2-3",
        "1                2 MB/s  2.00 us         6.00 J  done     3",
        "3                  fast                          refused           b: <no> …",
        "4                4 MB/s  1.00 us         1.00 J  outside           seconds: 1 is above 0",
        "caveat 1: late",
        "caveat 2: slow",
        "caveat 3: dim",
    ]


@pytest.mark.parametrize(
    ("goal", "order", "names"),
    [
        (Goal(), "01234", "seconds energy_joules"),
        (Goal(most=("seconds",)), "01234", "seconds"),
        (Goal(least=("seconds",)), "12034", "seconds"),
        (Goal(least=("energy_joules",), constraints={"seconds": {}}), "02134", "energy_joules seconds"),
        (Goal(constraints={"energy_joules": {}}), "01234", "energy_joules"),
        (Goal(least=("read_bytes.dram",)), "01234", "seconds energy_joules"),  # as where all rows were refused
    ],
)
def test_the_best_come_first_with_the_figures_that_are_wanted(goal, order, names):
    lines = rows_text(ROWS, "head", design=TOY, goal=goal).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("#"))
    assert "".join(line[0] for line in lines[start + 1 : start + 6]) == order
    assert lines[start].split()[2:-3] == names.split()


def test_html_has_the_same_and_is_escaped():
    shown = rows_html(ROWS, "<Sweep>", design=TOY)
    assert "&lt;Sweep&gt;" in shown
    assert "b: &lt;no&gt; …" in shown
    cells = [re.findall("<t[dh][^>]*>(.*?)</t", line) for line in re.findall("<tr>(.*?)</tr>", shown)]
    assert cells[0] == ["#", BANDWIDTH, "seconds", "energy_joules", "status", "caveats", "problem"]
    assert cells[1] == ["0", "1 MB/s", "3.00 us", "4.00 J", "done", "1-2", ""]
    assert cells[4] == ["3", "fast", "", "", "refused", "", "b: &lt;no&gt; …"]


def test_what_no_row_says_has_no_column():
    lines = rows_text([row("1 B/cycle", 1e-6), row("2 B/cycle", 2e-6)], "head", design=TOY).splitlines()
    assert lines[1].split() == ["#", BANDWIDTH, "seconds"]
    assert rows_text([], "head") == "head"
    assert rows_html([], "head").startswith("<p>head</p>")


def test_long_lists_are_cut_and_say_so_with_every_caveat_of_what_is_shown():
    rows = [row(f"{n + 1} B/cycle", 1e-6, caveats=("of all", *([f"of {n}"] if n % 8 == 0 else []))) for n in range(90)]
    html, text = unescape(rows_html(rows, "head", design=TOY)), rows_text(rows, "head", design=TOY)
    assert html.count("<tr>") == 21
    assert "and 70 more rows" in html
    assert len(text.splitlines()) <= MOST_LINES
    for shown in (html, text):
        listed = re.findall(r"caveat \d+: (of \w+)", shown)
        places = 20 if shown is html else text.count(" MB/s")
        assert listed == list(dict.fromkeys(caveat for one in rows[:places] for caveat in one.caveats))
    assert f"and {90 - text.count(' MB/s')} more rows" in text


def test_a_sweep_of_many_caveats_still_shows_rows():
    rows = [row(f"{n} B/cycle", 1e-6, caveats=[f"{n}.{k}" for k in range(9)]) for n in range(1, 9)]
    text = rows_text(rows, "head", design=TOY)
    assert text.count(" MB/s") == 5
    assert text.count("caveat ") == 45


def test_a_sweep_prints_and_shows_itself():
    swept = sweep("toy", "toy_llm", phase="decode", over={"context": [3, 1000]}, most="tokens_per_second")
    lines = str(swept).splitlines()
    assert lines[:2] == [swept.title, "best first: most tokens_per_second"]
    assert lines[3].split() == ["0", "3", "1.38", "ktoken/s", "done", "1"]
    assert lines[4].split()[:3] == ["1", "1,000", "refused"]
    assert [line.partition(": ")[2] for line in lines if line.startswith("caveat ")] == list(swept[0].caveats)
    shown = unescape(swept._repr_html_())
    assert swept.title in shown
    assert all(caveat in shown for one in swept for caveat in one.caveats)


def test_labels_of_phases_and_control_characters():
    rows = [Row({"option.x": text}, {"talk.seconds": 1.0, "talk.cycles": 3}) for text in ("a\x1b[2J", "b")]
    lines = rows_text(rows, "head").splitlines()
    assert lines[1].split() == ["#", "option.x", "talk.seconds"]
    assert lines[2].split() == ["0", r"a\x1b[2J", "1.00", "s"]
