"""`show` prints shipped files as they are; the first line, which is for editors, names the schema on this machine."""

import json
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from archsim.cli import DONE, WRONG, main
from archsim.files.data_folder import NOUNS, shipped
from archsim.schema import json_schema

FILES = [(noun, name, path) for noun, folder in NOUNS.items() for name, path in shipped(folder).items()]
TWICE = sorted({name for _, name, _ in FILES if sum(other == name for _, other, _ in FILES) > 1})


@pytest.mark.parametrize("noun, name, path", FILES, ids=[f"{noun} {name}" for noun, name, _ in FILES])
def test_a_file_is_printed_byte_for_byte_behind_its_first_line(noun, name, path, capfdbinary):
    assert main(["show", name, "--of", noun]) == DONE
    first, rest = capfdbinary.readouterr().out.split(b"\n", 1)
    assert rest == path.read_bytes().split(b"\n", 1)[1]
    place = Path(unquote(urlparse(first.decode().partition("=")[2]).path))
    assert json.loads(place.read_text()) == json_schema(noun)


@pytest.mark.parametrize("name", ["toy", "toy_llm", "resv", "gemm_4096"])
def test_a_name_of_one_file_needs_no_noun(name, capsys):
    assert main(["show", name]) == DONE
    said = capsys.readouterr()
    assert said.err == ""
    assert "# yaml-language-server: $schema=file://" in said.out


@pytest.mark.parametrize("name", TWICE)
def test_of_several_files_of_a_name_the_others_are_told(name, capsys):
    assert main(["show", name]) == DONE
    said = capsys.readouterr()
    assert said.err == f"{name}: the design; --of published prints the file of that name under published\n"
    assert "\nclock: " in said.out
    assert main(["show", name, "--of", "published"]) == DONE
    assert "\npoints:" in capsys.readouterr().out


def test_what_is_shown_is_a_start(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["show", "toy"])
    Path("mine.yaml").write_text(capsys.readouterr().out.replace("name: toy\n", "name: mine\n"))
    assert main(["check", "mine.yaml"]) == DONE
    assert "design 'mine'" in capsys.readouterr().out


def test_an_unknown_name_is_answered_by_the_names_of_each_kind(capsys):
    assert main(["show", "zzz"]) == WRONG
    kinds = [f"{folder or 'designs'}: {', '.join(shipped(folder))}" for folder in NOUNS.values()]
    assert capsys.readouterr().err == f"no shipped file 'zzz'; there are {'; '.join(kinds)}\n"
