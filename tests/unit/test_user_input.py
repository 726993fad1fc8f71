"""Is whatever a user passes, from Python as from the shell, read or refused in words?"""

from collections.abc import Callable
from pathlib import Path

import pytest

import archsim
import mappers
from archsim import InputError
from archsim.cli import WRONG, main
from archsim.errors import DesignError
from archsim.files.document import read
from mappers.experiment import point as sweeps

DESIGN, MODEL = archsim.load_design("toy"), archsim.load_model("toy_llm")
RUN = {"phase": "decode", "context": 3}


def test_names_stand_for_designs_and_models() -> None:
    assert mappers.run("toy", "toy_llm", **RUN).cycles == mappers.run(DESIGN, MODEL, **RUN).cycles
    [row] = mappers.sweep("toy", "toy_llm", phase="decode", over={"context": [3]})
    assert row["seconds"] == mappers.run(DESIGN, MODEL, **RUN).seconds


WRONG_CALLS: dict[str, Callable[[], object]] = {
    "design: expected a Design, a shipped name or a path, got 3": lambda: mappers.run(3, MODEL, **RUN),
    "model: expected a Model, a shipped name or a path, got nothing": lambda: mappers.run("toy", None, **RUN),
    "no design 'toi'; did you mean 'toy'?": lambda: mappers.run("toi", MODEL, **RUN),
    "options: expected a Mapping, got 3": lambda: mappers.run("toy", MODEL, options=3, **RUN),
    "unknown mapper a list; mappers are: ": lambda: mappers.run("toy", MODEL, mapper=[], **RUN),
    "unknown engine a list; engines are: ": lambda: mappers.run("toy", MODEL, engine=[], **RUN),
    "phase: expected a name or a Phase, got a list": lambda: mappers.run("toy", MODEL, phase=[], context=3),
    "mapper 'tiled' has no option 'mapper'": lambda: mappers.run("toy", MODEL, options={"mapper": "x"}, **RUN),
    "mapper 'tiled' has no option '1'": lambda: mappers.run("toy", MODEL, options={1: 2}, **RUN),
    "graph: expected a Graph, got 'x'": lambda: mappers.lower("x", DESIGN),
    "schedule: expected a Schedule, got 'x'": lambda: archsim.simulate("x", DESIGN),
    "schedule: expected a Schedule, got nothing": lambda: archsim.size_fifos(None, DESIGN),
    "design: expected a shipped name or a path, got nothing": lambda: archsim.load_design(None),
    "changes: expected a mapping of dotted paths to values": lambda: DESIGN.with_({1: 2}),
    "over: expected paths as text, got 1": lambda: mappers.sweep("toy", MODEL, phase="decode", over={1: [2]}),
    "jobs: expected a whole number of processes from 1 on, got 0": lambda: mappers.sweep(
        "toy", MODEL, phase="decode", over={"context": [3]}, jobs=0
    ),
    "selection: expected a Selection, a shipped name": lambda: mappers.sweep(
        "toy_retrieval", "toy_video", phase="decode", over={"context": [9]}, selection=1
    ),
    "unknown mapper a mapping": lambda: mappers.sweep("toy", MODEL, phase="decode", over={"context": [3]}, mapper={}),
    "mapper 'tiled' has no such option": lambda: mappers.sweep(
        "toy", MODEL, phase="decode", over={"context": [3]}, options={1: 2}
    ),
    "no op 'x'; ops are: ": lambda: mappers.run("toy", MODEL, **RUN).op("x"),
    "no memory 'x'; there are: ddr": lambda: mappers.run("toy", MODEL, **RUN).bytes_moved("x", "read"),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_a_wrong_argument_is_refused_in_words(message: str) -> None:
    with pytest.raises(InputError) as refused:
        WRONG_CALLS[message]()
    assert message in str(refused.value)


@pytest.mark.parametrize("command", ["simulate", "size-fifos"])
@pytest.mark.parametrize("option", ["mapper", "graph", "design", "options", "self", "engine"])
def test_no_option_becomes_an_argument(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"{command} toy toy_llm --phase decode --context 3 --option {option}=x"
    assert main(words.split()) == WRONG
    hint = "did you mean 'mapping'?" if option == "mapper" else "options are: mapping"
    assert capsys.readouterr().err == f"mapper 'tiled' has no option '{option}'; {hint}\n"


def test_a_fault_is_a_row_and_ends_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*given: object, phase: object, **more: object) -> object:
        return 1 / 0 if phase.facts()["context"] == 4 else sweeps_run(*given, phase=phase, **more)

    sweeps_run = sweeps.run
    monkeypatch.setattr(sweeps, "run", faulty)
    rows = mappers.sweep("toy", "toy_llm", phase="decode", over={"context": [3, 4, 5]})
    assert [row.problem for row in rows] == [None, "internal fault: ZeroDivisionError: division by zero", None]
    assert rows[1]["seconds"] is None


def test_a_value_of_any_type_is_a_row_or_a_refusal() -> None:
    values = [None, True, -1, 1.5, float("nan"), "", "x", b"x", [1], {"a": 1}, 2 + 3j, object(), range(3), {1}, "4"]
    for path in ("units.mm.macs_per_cycle", "units.mm", "units", "clock", "name", "assumed", "power", "tiers"):
        try:
            rows = mappers.sweep("toy", "toy_llm", phase="decode", over={path: values}, context=3)
        except InputError:
            continue
        assert not any(row.status == "fault" for row in rows)


def test_numbers_of_json_are_numbers(tmp_path: Path) -> None:
    """In YAML 1.1, 1e-06 is text; in a JSON file, such as another program's model, it is a number."""
    text = '{"eps": 1e-06, "large": 1E5, "text": "1e-06", "whole": 7, "half": -0.5, "no": [false, null]}'
    for name in ("config.json", "config.yaml"):
        (tmp_path / name).write_text(text)
    found = read(tmp_path / "config.json").data
    assert found == {"eps": 1e-06, "large": 1e5, "text": "1e-06", "whole": 7, "half": -0.5, "no": [False, None]}
    with pytest.raises(DesignError, match=r"eps: '1e-06' is read as text, not as a number; write 1\.0e-06"):
        read(tmp_path / "config.yaml")


def test_shipped_files_are_found_as_messages_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "designs/toy.yaml", "designs/models/toy_llm.yaml", "designs/published/toy.yaml"]) == WRONG
    said = capsys.readouterr()
    assert "designs/toy.yaml: design 'toy'" in said.out
    assert "model 'toy_llm'" in said.out
    assert said.err == "designs/published/toy.yaml: no such file\n"
    (tmp_path / "designs").mkdir()
    (tmp_path / "designs" / "toy.yaml").write_text("name: mine\n")
    assert main(["check", "designs/toy.yaml"]) == WRONG
