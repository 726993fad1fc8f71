"""Processes side by side: answers of each task, groups that stay together, and the commands that take --jobs."""

import doctest
import os
from dataclasses import dataclass

import pytest

import archsim.fifos.search
import archsim.files.json_text
import archsim.workers.order
from archsim import InputError, load_design, load_model, size_fifos
from archsim.cli import WRONG, main
from archsim.selection.shared_runs import share_in, shared
from archsim.workers.order import Queue, by_group
from archsim.workers.pool import Pool, check_jobs, cores
from dataflow import decode
from mappers import lower
from mappers.experiment.workers.task import Hello


def test_examples():
    assert doctest.testmod(archsim.workers.order).failed == 0
    assert doctest.testmod(archsim.fifos.search).failed == 0
    assert doctest.testmod(archsim.files.json_text).failed == 0


def test_each_task_is_answered_once():
    with Pool(Hello.of(abs), 3) as pool:
        assert dict(pool.answers({place: -place for place in range(40)})) == {place: place for place in range(40)}
        assert dict(pool.answers({7: -1})) == {7: 1}
        assert dict(pool.answers({})) == {}


def test_what_cannot_begin_is_told_as_it_is():
    @dataclass
    class Unknown:
        pass

    with pytest.raises(InputError, match="cannot be sent to another process"):
        Hello.of(Unknown)
    other = Hello(b"", (), "another version")
    with Pool(other, 1) as pool, pytest.raises(InputError, match="another version of archsim, and would give other"):
        list(pool.answers({1: 1}))


def test_groups_stay_together_until_only_begun_ones_are_left():
    queue = Queue((place, "abc"[place % 3]) for place in range(9))
    first, second = queue.next(None), queue.next(None)
    assert (first, second) == ((0, "a"), (1, "b"))
    assert queue.next("a") == (3, "a")
    assert queue.next("a") == (6, "a")
    assert queue.next("a") == (2, "c")  # nobody has begun it
    assert queue.next("b") == (4, "b")
    queue.put_back(4, "b")
    assert queue.next("x") == (4, "b")  # all are begun; b and c have two left, and b stands first
    assert len(queue) == 3
    assert by_group({5: "b", 2: "a", 9: "b"}) == [2, 5, 9]


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5, "2", 10**6])
def test_jobs_are_a_number_of_processes(jobs):
    with pytest.raises(InputError, match="jobs: "):
        check_jobs(jobs)
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_runs_of_rules_are_shared_by_their_key(tmp_path):
    made = []

    def make(answer):
        made.append(answer)
        return answer

    assert shared("a", lambda: make(1)) == 1
    share_in(str(tmp_path))
    try:
        assert [shared("a", lambda: make(2)), shared("a", lambda: make(3))] == [2, 2]
        assert shared(("a", 1), lambda: make(4)) == 4
        share_in(str(tmp_path / "none"))
        assert shared("a", lambda: make(5)) == 5  # nothing is shared where nothing can be written
    finally:
        share_in(None)
    assert made == [1, 2, 4, 5]
    assert shared("a", lambda: make(6)) == 6


def test_two_processes_size_the_fifos_of_one():
    design = load_design("tellme_kv260")
    schedule = lower(decode(load_model("bitnet_b158_large").model_copy(update={"layers": 2}), context=16), design)
    one, two = (size_fifos(schedule, design, jobs=jobs) for jobs in (1, 2))
    assert two.as_json() == one.as_json()
    assert (two.runs, two.firings) == (one.runs, one.firings)


@pytest.mark.parametrize("command", ["compare", "size-fifos toy toy_llm --phase decode --context 3"])
def test_no_processes_are_refused(command, capsys):
    assert main([*command.split(), "--jobs", "0"]) == WRONG
    assert capsys.readouterr().err == "jobs: expected a whole number of processes from 1 on, got 0\n"


def test_two_processes_compare_as_one(capsys):
    assert main(["compare", "agx_orin"]) == 0
    alone = capsys.readouterr()
    assert main(["compare", "agx_orin", "--jobs", "2"]) == 0
    both = capsys.readouterr()
    assert both.out == alone.out
    assert sorted(both.err.split("\n")) == sorted(alone.err.replace("simulating", "simulated").split("\n"))
