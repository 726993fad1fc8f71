"""Which engine answers while the compiled one is not compiled on this machine yet, and that the report says so."""

from dataclasses import replace

import pytest

import archsim
import dataflow
import mappers
from archsim import InputError, load_design, load_model
from archsim.engine import engines as engine

TOY, TOY_LLM = load_design("toy"), load_model("toy_llm")


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No machine code is kept; what SimPy has run in this process so far."""
    runs: list[int] = []
    monkeypatch.setattr(engine, "_cold_runs", runs)
    for place in ("archsim.engine.engines.is_compiled", "archsim.report.report.is_compiled"):
        monkeypatch.setattr(place, lambda kernel: False)
    return runs


def test_simpy_answers_what_is_shorter_than_compiling(cold: list[int]) -> None:
    assert engine.engine_for("auto", engine.COLD_FIRINGS + 1) == "compiled"
    assert engine.engine_for("auto", None) == "compiled"
    assert cold == []
    assert engine.engine_for("auto", engine.COLD_FIRINGS) == "simpy"
    assert cold == [engine.COLD_FIRINGS]


def test_many_short_runs_are_no_shorter_than_compiling(cold: list[int]) -> None:
    half = engine.COLD_FIRINGS // 2
    assert [engine.engine_for("auto", half) for _ in range(3)] == ["simpy", "simpy", "compiled"]


def test_a_named_engine_answers_itself(cold: list[int]) -> None:
    for name in ("compiled", "simpy", "recurrence"):
        assert engine.engine_for(name, 1) == name
    with pytest.raises(InputError, match="unknown engine 'fast'; engines are: auto, compiled, simpy, recurrence"):
        engine.engine_for("fast", 1)
    assert cold == []


def test_once_it_is_compiled_the_compiled_engine_answers() -> None:
    assert engine.engine_for("auto", 1) == "compiled"


def test_the_integers_are_the_same_and_the_last_line_says_who_answered(cold: list[int]) -> None:
    schedule = mappers.lower(dataflow.decode(TOY_LLM, context=5), TOY)
    simpy, compiled = archsim.simulate(schedule, TOY), archsim.simulate(schedule, TOY, engine="compiled")
    assert (simpy.engine, simpy.cold, compiled.engine, compiled.cold) == ("simpy", True, "compiled", False)
    assert replace(simpy, engine="compiled", cold=False, firings_run=compiled.firings_run) == compiled
    last = str(simpy).splitlines()[-1]
    assert last.startswith("engine      simpy (same integers; the compiled engine is not compiled yet")
    assert "not compiled" not in str(compiled)


def test_a_generation_counts_all_its_tokens(cold: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"phase": "generate", "prompt": 3, "tokens": 4}
    assert mappers.run(TOY, TOY_LLM, **asked).engine == "simpy"
    cold.clear()
    first = mappers.lower(dataflow.prefill(TOY_LLM, prompt=3), TOY)
    monkeypatch.setattr(engine, "COLD_FIRINGS", 4 * first.run_firings - 1)
    assert mappers.run(TOY, TOY_LLM, **asked).engine == "compiled"
