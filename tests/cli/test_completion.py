"""What a shell gets at Tab, by the environment that typer's script for bash sets; and version and help by each name."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree

import pytest

from archsim.cli import DONE, WRONG, main
from archsim.cli.complete import runs_and_designs
from archsim.engine_names import NAMES
from archsim.files.data_folder import NOUNS, shipped
from archsim.version import __version__
from dataflow.models.phases import PHASES
from mappers.registry import MAPPERS

ARCHSIM = [sys.executable, "-m", "archsim"]
ROOT = Path(__file__).parents[2]


def at_tab(line: str, *, cwd: Path | None = None, shell: str = "bash") -> list[str]:
    """What bash offers for the last word of the line, which may be empty."""
    told = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_ARCHSIM_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(ARCHSIM, capture_output=True, text=True, env=os.environ | told, cwd=cwd)
    assert (done.returncode, done.stderr) == (DONE, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    "line, offered",
    [
        ("archsim si", ["simulate", "size-fifos"]),
        ("archsim simulate tell", ["tellme_kv260"]),
        ("archsim simulate ", list(shipped())),
        ("archsim simulate toy ", list(shipped("models"))),
        ("archsim simulate toy toy_llm --ph", ["--phase"]),
        ("archsim map toy toy_llm --phase ", list(PHASES)),
        ("archsim simulate toy toy_llm --phase dec", ["decode"]),
        ("archsim simulate toy toy_llm --engine ", list(NAMES)),
        ("archsim simulate toy toy_llm --mapper ", list(MAPPERS)),
        ("archsim simulate toy toy_llm --selection info", []),
        ("archsim simulate toy toy_llm --selection q", ["quest"]),
        ("archsim simulate toy toy_llm --mapping ", list(shipped("mappings"))),
        ("archsim compare ", list(shipped("published"))),
        ("archsim check toy", ["toy", "toy_retrieval", "toy_llm", "toy_video"]),
        ("archsim list ma", ["mappings", "mappers"]),
        ("archsim show tellme_kv260 --of ", list(NOUNS)),
        ("archsim schema mem", ["memory", "memory_tile"]),
        ("archsim simulate ./", []),
    ],
)
def test_names_are_completed(line, offered):
    assert at_tab(line) == offered


def test_where_nothing_can_be_read_shipped_names_are_completed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert runs_and_designs()("") == list(shipped())
    Path("run.json").write_text("{}")
    Path("dir.of", "inside").mkdir(parents=True)
    assert runs_and_designs()("") == [*shipped(), "run.json"]
    rmtree(tmp_path)
    assert runs_and_designs()("") == list(shipped())
    monkeypatch.setattr(os, "listdir", failing)
    assert runs_and_designs()("to") == ["toy", "toy_retrieval"]


def failing(*_: object) -> None:
    raise PermissionError


def test_the_script_of_bash_calls_that():
    done = subprocess.run([*ARCHSIM, "--show-completion"], capture_output=True, text=True)
    if done.returncode == DONE:  # run by a shell that is known
        assert "archsim" in done.stdout
    told = os.environ | {"_ARCHSIM_COMPLETE": "source_bash"}
    done = subprocess.run(ARCHSIM, capture_output=True, text=True, env=told)
    assert done.returncode == DONE
    assert "COMP_WORDS" in done.stdout
    assert "_ARCHSIM_COMPLETE=complete_bash" in done.stdout
    assert "complete -o default" in done.stdout, "paths are completed where no name fits"


def test_bash_takes_the_script(tmp_path):
    command = tmp_path / "archsim"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m archsim "$@"\n')
    command.chmod(0o755)
    script = f"""PATH={tmp_path}:$PATH
source <(_ARCHSIM_COMPLETE=source_bash archsim)
COMP_WORDS=(archsim simulate tellm) COMP_CWORD=2
_archsim_completion archsim
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("tellme_kv260\n", "")


def test_a_wrong_request_has_the_status_of_wrong_input(monkeypatch, capsys):
    monkeypatch.setenv("_ARCHSIM_COMPLETE", "complete_nosuchshell")
    assert main([]) == WRONG
    assert "nosuchshell" in capsys.readouterr().err


def test_at_tab_no_heavy_library_is_loaded():
    told = {"COMP_WORDS": "archsim simulate t", "COMP_CWORD": "2", "_ARCHSIM_COMPLETE": "complete_bash"}
    code = (
        "import sys; from archsim.cli import main; status = main([]); heavy = {'torch', 'matplotlib', 'pandas', "
        "'numba', 'yaml', 'pint'} & set(sys.modules); sys.exit(f'imported {heavy}' if heavy or status else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | told, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_has_one_home(capsys):
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out == f"archsim {__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "archsim/version.py"
    assert version("archsim") == __version__, "install it anew"


COMMANDS = ["check", "simulate", "explain", "map", "size-fifos", "sweep", "compare", "diff", "list", "show", "schema"]


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_by_both_names(words, capsys):
    texts = []
    for flag in ("-h", "--help"):
        assert main([*words, flag]) == DONE
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].startswith("Usage: archsim")


def test_every_command_is_tried_above(capsys):
    main(["--help"])
    listed = re.findall(r"^  ([a-z-]+)  ", capsys.readouterr().out.partition("Commands:")[2], re.M)
    assert listed == COMMANDS


@pytest.mark.parametrize("name", [*PHASES, *NAMES])
def test_phases_and_engines_are_shown_as_choices(name, capsys):
    main(["simulate", "--help"])
    assert re.search(rf"[ |\n]{name}[|\n ]", capsys.readouterr().out)
