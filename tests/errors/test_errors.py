"""Does each mistake give exactly this message? Each bad file stands beside the text that it must give."""

import random
import re
import runpy
from pathlib import Path

import pytest
import yaml

from archsim.cli import WRONG, main
from archsim.errors import InputError
from archsim.files.data_folder import data_folder

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.yaml"))
COMMANDS = sorted(HERE.glob("*.command"))
CALLS = sorted([*HERE.glob("sections/*.py"), *HERE.glob("reports/*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bad_file_gives_its_message(path, capsys, monkeypatch):
    monkeypatch.chdir(HERE)
    assert main(["check", path.name]) == WRONG
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_bad_command_gives_its_message_and_status(path, capsys, monkeypatch):
    monkeypatch.chdir(HERE)
    status, _, arguments = path.read_text().strip().partition(" ")
    assert main(_words(arguments)) == int(status)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", CALLS, ids=lambda path: path.stem)
def test_a_bad_call_gives_its_message(path, monkeypatch):
    monkeypatch.chdir(HERE)
    with pytest.raises(InputError) as raised:
        runpy.run_path(path)
    assert f"{raised.value}\n" == path.with_suffix(".txt").read_text()


def _words(text: str) -> list[str]:
    return [quoted or bare for quoted, bare in re.findall(r"'([^']*)'|(\S+)", text)]


def test_every_message_has_its_mistake():
    assert {p.stem for p in HERE.glob("*.txt")} == {p.stem for p in (*FILES, *COMMANDS)}
    assert {p.with_suffix(".py") for p in HERE.glob("*/*.txt")} == {*CALLS}


def mutations(data: dict, seed: int):
    """Endless mutated copies of a file's data: a key dropped, misspelt or doubled, a value of a wrong type or unit."""
    rng = random.Random(seed)
    wrong = [None, True, False, -1, 0, 1.5, "", "x", "1e9", [], {}, [1, 2], {"a": 1}, "250", "1 GB/s", "-3 MHz", 10**30,
             "9 parsec", "1 /cycle", "é", float(10**9)]  # fmt: skip
    while True:
        copy = yaml.safe_load(yaml.safe_dump(data))
        places = list(walk(copy))
        holder, key = rng.choice(places)
        change = rng.choice(("drop", "misspell", "value", "unit"))
        if change == "drop":
            del holder[key]
        elif change == "misspell" and isinstance(holder, dict):
            letters = list(key)
            letters.insert(rng.randrange(len(letters) + 1), rng.choice("abcxyz_0 :"))
            holder["".join(letters)] = holder.pop(key)
        elif change == "unit" and isinstance(holder[key], str):
            text = holder[key].replace("B", rng.choice(("Hz", "q", "")))
            holder[key] = text.replace("Hz", rng.choice(("s", "", "W")))
        else:
            holder[key] = rng.choice(wrong)
        yield copy


def walk(data):
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list) and data[key]:
            yield from walk(data[key])


@pytest.mark.parametrize("name, count", [("tellme_kv260", 100), ("toy", 140), ("models/bitnet_b158_large", 60),
                                         ("published/tellme_kv260", 60), ("mappings/gemm_4096", 100)])  # fmt: skip
def test_a_mutated_file_never_gives_a_traceback(name, count, tmp_path, capsys):
    data = yaml.safe_load((data_folder() / f"{name}.yaml").read_text())
    refused = 0
    for _, mutated in zip(range(count), mutations(data, seed=20260101), strict=False):
        path = tmp_path / "mutated.yaml"
        path.write_text(yaml.safe_dump(mutated))
        status = main(["check", str(path)])
        said = capsys.readouterr()
        assert status in (0, WRONG), said.err
        assert "Traceback" not in said.err
        if status:
            refused += 1
            assert all(line.startswith(str(path)) for line in said.err.splitlines()), said.err
    assert refused > count / 2


@pytest.mark.parametrize(
    "design, model, count", [("toy", "toy_llm", 100), ("tellme_kv260", "bitnet_b158_large", 60)]
)
def test_a_mutated_design_never_gives_a_traceback_when_it_runs(design, model, count, tmp_path, capsys):
    data = yaml.safe_load((data_folder() / f"{design}.yaml").read_text())
    for _, mutated in zip(range(count), mutations(data, seed=7), strict=False):
        path = tmp_path / "mutated.yaml"
        path.write_text(yaml.safe_dump(mutated))
        status = main(["simulate", str(path), model, "--phase", "decode", "--context", "2"])
        said = capsys.readouterr()
        assert status in (0, 2, 3, 4), said.err
        assert "Traceback" not in said.err
