"""Does each mistake in a file of --with give one line with the file and the line, exit status 2, and add nothing?"""

import re
import sys

import pytest

from archsim import Design, InputError
from archsim.cli import DONE, WRONG, main
from archsim.units import KINDS
from dataflow import OP_KINDS, PHASES, Decode
from kernels.selection import ALGORITHMS
from mappers import MAPPERS, extend
from mappers.extend import FILES, OWNERS, snapshot

pytestmark = pytest.mark.usefixtures("added")

KIND = """\
from typing import ClassVar, Literal
from pydantic import Field
from archsim.quantity import Count
from archsim.units import Unit
from mappers import extend

class Own(Unit):
    kinds: ClassVar = ("compare",)
    kind: Literal["own"]
    lanes: Count = Field(description="lanes")
    def _cycles(self, work):
        return work.elements

extend(kinds=[Own])
"""
OP = """\
from dataflow import OpKind
from mappers import extend

OWN = dict(meaning="own", extents=("rows", "d"), count=lambda w: {}, elements=lambda w: 1)
extend(ops={"own": OpKind(**OWN)})
"""
MAPPER = """\
from dataclasses import dataclass
from typing import ClassVar
from mappers import Mapper, extend, option

@dataclass(frozen=True, slots=True, kw_only=True)
class Own(Mapper):
    name: ClassVar[str] = "own"
    depth: int = option("how deep", default=1)
    def lower(self, graph, design):
        raise AssertionError

extend(mappers=[Own])
"""
PHASE = """\
from dataclasses import dataclass
from typing import ClassVar
from dataflow import Phase, asks
from mappers import extend

@dataclass(frozen=True, slots=True, kw_only=True)
class Own(Phase):
    name: ClassVar[str] = "own"
    depth: int = asks("how deep")
    def graph(self, model):
        raise AssertionError

extend(phases=[Own])
"""
RULE = """\
from dataclasses import dataclass
from kernels.selection.algorithm import Algorithm, Counters
from kernels.selection.positions import Stateless
from mappers import extend

@dataclass(frozen=True, slots=True)
class Own(Stateless):
    depth: int = 1
    def choose(self, state, queries):
        raise AssertionError

extend(rules={"own": Own})
"""
BASES = {"kind": KIND, "op": OP, "mapper": MAPPER, "phase": PHASE, "rule": RULE}
GRAPH, LOWER = "def graph(self, model):", "def lower(self, graph, design):"
OF_A_PHASE = "a frozen dataclass of Phase with a name"
DEPTH = 'depth: int = option("how deep", default=1)'

# mistake -> (the right file that it is made in, what is replaced, by what, the line, the message)
MISTAKES = {
    "kind that is named already": (
        "kind", '"own"', '"vector"', 14, "kind 'vector': archsim has one of this name; take another",
    ),
    "kind without cycles": ("kind", "def _cycles", "def cycles_of", 14, "kind 'own': has no _cycles(self, work)"),
    "kind without description": (
        "kind", '= Field(description="lanes")', "= Field()", 14, "kind 'own': field 'lanes' has no description",
    ),
    "kind of an unknown op kind": (
        "kind", '"compare"', '"sort"', 14, "kind 'own': kinds: no op kind 'sort'; give its record in ops",
    ),
    "kind of one op kind": (
        "kind", '("compare",)', '"compare"', 14,
        "kind 'own': kinds: expected a tuple of op kinds, got 'compare'",
    ),
    "kind without a kind": (
        "kind", '    kind: Literal["own"]\n', "", 13,
        "kind: expected a class of Unit with a field `kind: Literal[\"its_name\"]`, got class Own",
    ),
    "kind that is a unit already": (
        "kind", "kinds=[Own]", 'kinds=[Own(kind="own", lanes=1)]', 14,
        "kind: expected a class of Unit with a field `kind: Literal[\"its_name\"]`, got an Own",
    ),
    "field of no type": (
        "kind", "lanes: Count", "lanes", 7,
        "PydanticUserError: Field 'lanes' requires a type annotation",
    ),
    "given twice": ("kind", "[Own]", "[Own, Own]", 14, "kind 'own' is given twice"),
    "op kind that is named already": (
        "op", '"own":', '"add":', 5, "op kind 'add': archsim has one of this name; take another",
    ),
    "op kind with a wrong name": (
        "op", '"own":', '"my op":', 5, "op kind 'my op': a name has letters, digits and '_'",
    ),
    "axes that are no extents": (
        "op", "(**OWN)", '(**OWN, axes=("m",))', 5, "op kind 'own': axes: no extent 'm'; extents are: rows, d",
    ),
    "op kind without numbers": (
        "op", "(**OWN)", "(**OWN, shape=len)", 5,
        "op kind 'own': give its numbers by tile or by evaluate, one of the two",
    ),
    "op kind without a count": (
        "op", "count=lambda w: {}", "count=None", 5,
        "op kind 'own': count: expected a function of a Work, got nothing",
    ),
    "op kind of half a factor": (
        "op", "(**OWN)", "(**OWN, factors=0.5)", 5,
        "op kind 'own': factors: expected how many of the first inputs it multiplies, got 0.5",
    ),
    "op kind that is no record": ("op", "OpKind(**OWN)", "OWN", 5, "op kind 'own': expected an OpKind, got a mapping"),
    "op kind without elements": (
        "op", ", elements=lambda w: 1", "", 5,
        "TypeError: OpKind.__init__() missing 1 required keyword-only argument: 'elements'",
    ),
    "option without a type": (
        "mapper", "depth: int", "depth", 5, "TypeError: 'depth' is a field but has no type annotation",
    ),
    "option of an unknown type": (
        "mapper", "depth: int", "depth: float", 12,
        "mapper 'own': option 'depth': its type is none of int, bool, Literal of words, Selection, Mapping",
    ),
    "option without meaning": (
        "mapper", 'option("how deep", default=1)', "1", 12,
        "mapper 'own': option 'depth': has no default or no meaning; write option(meaning, default=...)",
    ),
    "option without default": (
        "mapper", ", default=1", "", 8, "TypeError: option() missing 1 required keyword-only argument: 'default'",
    ),
    "option with a wrong default": (
        "mapper", "default=1", 'default="one"', 12,
        "mapper 'own': option depth: expected a whole number, got 'one'",
    ),
    "option with a name of a call": (
        "mapper", "depth: int", "design: int", 12,
        "mapper 'own': option 'design' is a word of the command line, of a report or of every Mapper",
    ),
    "mapper of phases by name": (
        "mapper", "    depth:", '    phases: ClassVar = ("decode",)\n    depth:', 13,
        "mapper 'own': phases: expected a tuple of classes of Phase, or None for any graph, got a list",
    ),
    "mapper without lower": (
        "mapper", LOWER, "def place(self):", 12, "mapper 'own': has no lower(self, graph, design)",
    ),
    "mapper that is no dataclass": (
        "mapper", "@dataclass(frozen=True, slots=True, kw_only=True)\n", "", 11,
        "mapper 'own': expected a frozen dataclass of Mapper with a name, got class Own",
    ),
    "mapper that is not frozen": (
        "mapper", "frozen=True", "frozen=False", 5, "TypeError: cannot inherit non-frozen dataclass from a frozen one",
    ),
    "mapper without a name": (
        "mapper", 'name: ClassVar[str] = "own"', "", 12,
        "mapper: expected a frozen dataclass of Mapper with a name, got class Own",
    ),
    "phase that is named already": (
        "phase", '"own"', '"decode"', 13, "phase 'decode': archsim has one of this name; take another",
    ),
    "phase without graph": ("phase", GRAPH, "def build(self):", 13, "phase 'own': has no graph(self, model)"),
    "phase of many steps without ends": (
        "phase", GRAPH, "many_steps: ClassVar[bool] = True\n    def steps(self, model):", 14,
        "phase 'own': has no ends(self, model)",
    ),
    "phase without a name": (
        "phase", 'name: ClassVar[str] = "own"', "", 13, f"phase 'graph': expected {OF_A_PHASE}, got class Own",
    ),
    "phase that is another class": ("phase", "[Own]", "[dict]", 13, f"phase: expected {OF_A_PHASE}, got class dict"),
    "field of an odd type": (
        "phase", "depth: int", "depth: float", 13, "phase 'own': field 'depth': its type is none of int, bool, str",
    ),
    "field without meaning": (
        "phase", 'depth: int = asks("how deep")', "depth: int", 13,
        "phase 'own': field 'depth': has no meaning; write asks(meaning)",
    ),
    "field with a default of another type": (
        "phase", 'asks("how deep")', 'asks("how deep", default="1")', 13,
        "phase 'own': field 'depth': its default '1' is no int",
    ),
    "field for the batch with another default": (
        "phase", "depth: int = asks(\"how deep\")", "batch: int = asks(\"how many\", default=4)", 13,
        "phase 'own': field 'batch': every phase has one sequence unless more are asked for",
    ),
    "field that the command line has under another name": (
        "phase", "depth: int", "json_: int", 13,
        "phase 'own': field 'json_' is a word of the command line, of a report or of every Phase",
    ),
    "field that is a word of the command line": (
        "phase", "depth: int", "output: int", 13,
        "phase 'own': field 'output' is a word of the command line, of a report or of every Phase",
    ),
    "field that is a name of every phase": (
        "phase", "depth: int", "frames: int", 13,
        "phase 'own': field 'frames' is a word of the command line, of a report or of every Phase",
    ),
    "field that is a word of a report": (
        "phase", "depth: int", "cycles: int", 13,
        "phase 'own': field 'cycles' is a word of the command line, of a report or of every Phase",
    ),
    "field that another phase has with another type": (
        "phase", "depth: int", "mask: int", 13, "phase 'own': field 'mask' is int, that of phase 'attention' is str",
    ),
    "rule that is named already": (
        "rule", '"own"', '"topk"', 12, "rule 'topk': archsim has one of this name; take another",
    ),
    "rule without choose": ("rule", "def choose", "def pick", 12, "rule 'own': has no choose(self, state, queries)"),
    "rule that is no dataclass": (
        "rule", "@dataclass(frozen=True, slots=True)\n", "", 11,
        "rule 'own': expected a frozen dataclass of kernels.selection.algorithm.Algorithm, got class Own",
    ),
    "rule of no Algorithm": (
        "rule", "Own(Stateless)", "Own", 12,
        "rule 'own': expected a frozen dataclass of kernels.selection.algorithm.Algorithm, got class Own",
    ),
    "syntax": ("rule", "class Own(Stateless):", "class Own(Stateless)", 7, "SyntaxError: expected ':'"),
    "not text": (
        "rule", '"own"', '"own\udce9"', 12, "SyntaxError: (unicode error) 'utf-8' codec can't decode byte 0xe9",
    ),
    "an exception": ("op", "OWN = dict", "OWN = 1 / 0, dict", 4, "ZeroDivisionError: division by zero"),
    "an exit": ("op", "OWN = ", "raise SystemExit(3)\nOWN = ", 4, "SystemExit: 3"),
    "an import": (
        "op", "import OpKind", "import OpKinds", 1, "ImportError: cannot import name 'OpKinds' from 'dataflow' ",
    ),
    "of a call": (
        "op", "ops={", "operations={", 5, "TypeError: extend() got an unexpected keyword argument 'operations'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_file_gives_its_message_and_adds_nothing(mistake, tmp_path, monkeypatch, capsys):
    base, old, new, line, message = MISTAKES[mistake]
    assert old in BASES[base]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_bytes(BASES[base].replace(old, new).encode("utf-8", "surrogateescape"))
    before, modules = snapshot(), {name for name in sys.modules if name.startswith("with_")}
    assert main(["list", "kinds", "--with", "own.py"]) == WRONG
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"--with own.py:{line}: {message}")
    assert said.err.count("\n") == 1
    # Only Python's own words go on.
    assert "Error: " in message or said.err == f"--with own.py:{line}: {message}\n"
    assert snapshot() == before
    assert {name for name in sys.modules if name.startswith("with_")} == modules


@pytest.mark.parametrize("base", BASES)
def test_the_files_that_the_mistakes_are_made_in_are_right(base, tmp_path):
    (tmp_path / "own.py").write_text(BASES[base])
    for _ in range(2):
        assert main(["list", "kinds", "--with", str(tmp_path / "own.py")]) == DONE


@pytest.mark.parametrize(
    "words, message",
    [
        (["--with", "none.py"], "--with none.py: cannot be read: No such file or directory\n"),
        (["--with", "."], "--with .: cannot be read: Is a directory\n"),
        (["--with"], "Option '--with' requires an argument.\n"),
        (["--with="], "--with : cannot be read: Is a directory\n"),
    ],
)
def test_a_file_that_is_not_there(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["list", "kinds", *words]) == WRONG
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("base, words", [("kind", ["schema", "own"]), ("mapper", ["list", "mappers"])])
def test_what_has_no_docstring_is_listed_without(base, words, tmp_path, capsys):
    (tmp_path / "own.py").write_text(BASES[base])
    assert main([*words, "--with", str(tmp_path / "own.py")]) == DONE
    assert re.search(r"^own\b", capsys.readouterr().out, re.MULTILINE)


def test_every_problem_of_a_file_is_told_at_once(tmp_path, added):
    path = tmp_path / "own.py"
    path.write_text(PHASE.replace(GRAPH, "def build(self):").replace("depth: int", "depth: float"))
    with pytest.raises(InputError) as raised:
        added(str(path))
    assert len(raised.value.problems) == 2


def test_a_file_that_fails_half_way_adds_nothing(tmp_path, added):
    path = tmp_path / "own.py"
    path.write_text(f"{KIND}\n{OP}\nraise ValueError\n")
    before = snapshot()
    with pytest.raises(InputError, match=r"own\.py:22: ValueError$"):
        added(str(path))
    assert snapshot() == before
    assert "own" not in str(Design.model_json_schema()["properties"]["units"]["additionalProperties"])


def test_a_file_is_run_once_until_it_changes(tmp_path, added):
    path = tmp_path / "own.py"
    path.write_text(KIND)
    first = added(str(path))
    assert added(str(path)) is first
    assert added(str(tmp_path / ".." / tmp_path.name / "own.py")) is first
    path.write_text(KIND.replace('"own"', '"other"') + OP)
    second = added(str(path))
    assert second is not first
    # What the earlier contents added is gone.
    assert ("own" in KINDS, "other" in KINDS, "own" in OP_KINDS) == (False, True, True)
    assert FILES[str(path)] != ""
    path.write_text("raise ValueError('no more')")
    with pytest.raises(InputError, match=r"own\.py:1: ValueError: no more$"):
        added(str(path))
    assert KINDS["other"] is second.Own
    assert OWNERS["kind"]["other"] == str(path)


def test_two_files_cannot_add_one_name(tmp_path, added):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text(KIND)
    two.write_text(KIND.replace("lanes", "ways"))
    added(str(one))
    with pytest.raises(InputError, match=f"kind 'own': {re.escape(str(one))} has one of this name; take another"):
        added(str(two))
    assert "lanes" in KINDS["own"].model_fields
    with pytest.raises(InputError, match="has one of this name"):
        exec(KIND, {"__name__": __name__})


def test_a_cell_that_runs_again_replaces_what_it_added():
    for source, table in ((KIND, KINDS), (MAPPER, MAPPERS), (PHASE, PHASES), (RULE, ALGORITHMS), (OP, OP_KINDS)):
        found = []
        for _ in range(2):
            exec(source, {"__name__": __name__})
            found.append(table["own"])
        assert found[0] is not found[1]


@pytest.mark.parametrize("word", ["kinds", "mappers", "phases", "ops", "rules"])
def test_what_is_no_collection_of_additions_is_refused(word):
    expected = "a mapping of names to" if word in ("ops", "rules") else "a list of"
    for wrong in (Decode, 3, *([[Decode]] if word in ("ops", "rules") else [])):
        with pytest.raises(InputError, match=f"s: expected {expected} .*s, got "):
            extend(**{word: wrong})


def test_words_that_are_no_list_of_additions_are_refused():
    with pytest.raises(InputError, match="mapper: expected a frozen dataclass of Mapper with a name, got 'own'"):
        extend(mappers=["own"])
    with pytest.raises(InputError, match=r"rule 'own': expected a frozen dataclass of .*, got 'a\.b:C'"):
        extend(rules={"own": "a.b:C"})
