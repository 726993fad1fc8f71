"""Is the structure intact: imports one way, libraries in their homes, sizes, no print outside the command line?"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("kernels", "dataflow", "archsim", "mappers")
FILES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
HOMES = {
    "simpy": ("archsim/engine/simpy_engine.py",),
    "yaml": ("archsim/files/document.py",),
    "pint": ("archsim/quantity_units.py",),
    "typer": ("archsim/cli/",),
    "rich": ("archsim/report/",),
    "sqlite3": ("mappers/experiment/store.py",),
    "scipy": ("mappers/experiment/search/points.py",),
    "distributed": ("mappers/experiment/workers/cluster.py",),
    "optuna": ("mappers/experiment/search/guided.py",),
    "matplotlib": ("archsim/report/plot/",),
    "pandas": ("archsim/report/frame.py", "archsim/report/rows/table.py"),
    "torch": ("kernels/lazy_torch.py",),
    "numba": ("kernels/", "archsim/engine/compiled/"),
    "networkx": ("dataflow/graph.py", "dataflow/numeric/replay.py", "archsim/engine/deadlock/"),
}


MODULES = {
    path.relative_to(ROOT).as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in FILES
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Inside a package each entry, a file or a folder, imports only from itself and from entries before it.
WITHIN = {
    "dataflow": (
        "errors", "overview", "forms", "name", "format", "role", "mask", "op", "kinds", "order", "pattern", "task",
        "tiling", "floor", "phase", "graph", "cascade", "selection_summary", "section_rules", "section", "schedule",
        "models", "numeric",
    ),
    "archsim": (
        "version", "engine_names", "quantity_units", "quantity", "errors", "files", "workers", "mapping", "units",
        "design", "importers", "selection", "engine", "run", "explain", "report", "fifos", "published", "sweep_file",
        "schema", "check", "cli",
        "__main__",
    ),
    "mappers": (
        "mapper", "build", "tiled", "table_lookup", "spatial", "retrieval", "registry",
        "additions", "extend", "experiment",
    ),
}  # fmt: skip
# Of mappers; none knows another, all may stand on tiled.
FAMILIES = ("table_lookup", "spatial", "retrieval")


def module_of(path: Path) -> str:
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def entry(module: str) -> str:
    """The file or folder of its package that a module is, or lies in."""
    return module.split(".")[1]


def rank(module: str) -> int:
    """Place in the order; the command line stands above all."""
    return len(ORDER) if module.startswith(("archsim.cli", "archsim.__main__")) else ORDER.index(module.split(".")[0])


def imported(path: Path) -> set[str]:
    """Modules imported anywhere in the file: inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES
            found |= inside or {node.module}
    return found


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_one_way(path):
    module = module_of(path)
    back = {m for m in imported(path) if m.split(".")[0] in ORDER and rank(m) > rank(module)}
    assert not back, f"{module} imports {back}, which stands above it"


def test_every_file_and_folder_has_its_place():
    for package, entries in WITHIN.items():
        there = {entry(module) for module in MODULES if module.startswith(f"{package}.")}
        assert there == set(entries)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_inside_a_package_go_one_way(path):
    module = module_of(path)
    package = module.split(".")[0]
    if package not in WITHIN or module == package:
        return
    place = WITHIN[package].index
    near = {m for m in imported(path) if m.startswith(f"{package}.") and entry(m) != entry(module)}
    back = {m for m in near if place(entry(m)) > place(entry(module))}
    assert not back, f"{module} imports {back}, which stands above it"
    if entry(module) in FAMILIES:
        assert not {m for m in near if entry(m) in FAMILIES}


def test_there_is_no_circle_between_modules():
    edges = {module_of(path): imported(path) & MODULES - {module_of(path)} for path in FILES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' > '.join((*path[path.index(module) :], module))}"
        if module not in done:
            for other in sorted(edges[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_mappers_are_families():
    assert len(list((ROOT / "mappers").glob("*.py"))) <= 8


@pytest.mark.parametrize("path", FILES, ids=name)
def test_libraries_stay_in_their_homes(path):
    for module in imported(path):
        homes = HOMES.get(module.split(".")[0])
        assert homes is None or name(path).startswith(homes), f"{module} in {name(path)}, its home is {homes}"


def test_sizes():
    lines = {name(p): p.read_text().count("\n") for p in FILES}
    assert max(lines.values()) < 500, max(lines, key=lines.get)
    assert sum(n >= 300 for n in lines.values()) <= len(lines) / 10, {f: n for f, n in lines.items() if n >= 300}
    sizes = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node)
                size = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 2 if doc else 0)
                sizes[f"{name(path)}:{node.name}"] = size
    assert max(sizes.values()) < 80, max(sizes, key=sizes.get)
    assert sum(n >= 40 for n in sizes.values()) <= len(sizes) / 20, {f: n for f, n in sizes.items() if n >= 40}


@pytest.mark.parametrize("path", [p for p in FILES if not name(p).startswith("archsim/cli/")], ids=name)
def test_nothing_prints_outside_the_command_line(path):
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def test_json_is_written_in_one_place():
    calls = {(name(p), ast.unparse(n.func)) for p in FILES for n in ast.walk(ast.parse(p.read_text()))
             if isinstance(n, ast.Call)}  # fmt: skip
    # The names in a flat file are text alone; elsewhere a NaN could slip through.
    writers = {file for file, call in calls if call in ("json.dump", "json.dumps")}
    assert writers == {"archsim/files/json_text.py", "archsim/engine/flat_file.py"}


DECODE = ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3"]
CHOSEN = ["simulate", "toy_retrieval", "toy_video", "--phase", "frame", "--context", "20", "--selection", "resv"]


@pytest.mark.parametrize(
    "command, heavy",
    [
        (["--help"], {"torch", "matplotlib", "numba", "pandas", "yaml", "pint"}),
        (["--version"], {"torch", "matplotlib", "numba", "pandas", "yaml", "pint"}),
        (["show", "tellme_kv260"], {"torch", "matplotlib", "numba", "pandas", "yaml", "pint"}),
        (["check", "tellme_kv260"], {"torch", "matplotlib", "pandas", "numba"}),
        (["check", "resv"], {"torch", "matplotlib", "pandas", "numba"}),
        (["list", "selections"], {"torch", "matplotlib", "pandas", "numba"}),
        (["check", "gemm_4096"], {"torch", "matplotlib", "pandas", "numba"}),
        (["list", "mappings"], {"torch", "matplotlib", "pandas", "numba"}),
        (["schema", "selection"], {"torch", "matplotlib", "pandas", "numba"}),
        ([*DECODE, "--engine", "simpy"], {"torch", "matplotlib", "pandas", "numba"}),
        (DECODE, {"torch", "matplotlib", "pandas", "simpy"}),
        (CHOSEN, {"torch", "matplotlib", "pandas", "simpy"}),
    ],
    ids=[
        "help", "version", "show", "check", "check a selection", "list selections", "check a mapping", "list mappings",
        "schema of selections", "simulate by simpy", "simulate", "simulate a selection",
    ],
)
def test_commands_start_without_heavy_libraries(command, heavy):
    code = (
        "import sys; from archsim.cli import main; status = main(sys.argv[1:]); "
        f"heavy = {heavy} & set(sys.modules); sys.exit(f'imported {{heavy}}' if heavy or status else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_names_of_the_rules_of_selection_import_none_of_them():
    code = (
        "import sys; from kernels.selection import ALGORITHMS; heavy = {'numpy', 'numba'} & set(sys.modules); "
        "rules = {text.split(':')[0] for text in ALGORITHMS.values()} & set(sys.modules); sys.exit(bool(heavy | rules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_package_of_the_same_name_in_the_way_is_named(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import archsim"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert f"package 'kernels' comes from {tmp_path}" in done.stderr


@pytest.mark.parametrize("name", ["kernels", "dataflow", "mappers"])
@pytest.mark.parametrize("state", ["overwritten", "removed"])
def test_a_package_installed_over_ours_is_told_with_the_repair(name, state, tmp_path):
    """As pip leaves the folder after another project of that name was installed, and after it was removed again."""
    for package in ("archsim", "dataflow", "kernels", "mappers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    first = tmp_path / name / "__init__.py"
    if state == "overwritten":
        first.write_text('__version__ = "0.1"\n')
    else:
        first.unlink()
    code = "import sys; sys.path.insert(0, '.'); import archsim"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert told.startswith(f"ImportError: package '{name}' ")
    assert "uninstall it and install archsim anew" in told
