"""What pyproject.toml promises: entry points, extras, and imports that the declared dependencies cover."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

import ipusim

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
FOLDERS = [ROOT / name for name in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
MODULES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))]
OURS = {folder.name for folder in FOLDERS}
COMES_WITH = {"numba": {"llvmlite"}}  # numba pins the llvmlite it is built for and hands out its types
GROUPS = {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}


def names(requirements):
    """What requirements let one import, besides ourselves."""
    named = {re.match(r"[A-Za-z0-9_-]+", r).group().replace("-", "_") for r in requirements} - OURS
    return named.union(*(COMES_WITH.get(name, ()) for name in named))


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, points in GROUPS.items() for n in points])
def test_entry_points_resolve(group, name):
    value = GROUPS[group][name]
    found = EntryPoint(name, value, group).load()
    assert callable(found) or {"ipusim.kernels": "rules", "ipusim.models": "ZOO"}[group] in vars(found)
    assert [p.value for p in entry_points(group=group, name=name)] == [value], "install again: the metadata is old"


def test_the_version_is_the_declared_one():
    assert ipusim.__version__ == PROJECT["version"]


def test_the_front_door_opens():
    assert len(set(ipusim.__all__)) == len(ipusim.__all__)
    assert set(ipusim.__all__) < set(dir(ipusim))
    assert [name for name in ipusim.__all__ if getattr(ipusim, name, None) is None] == []


def test_importing_ipusim_is_cheap():
    code = "import sys, ipusim, ipusim.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"numpy", "numba", "onnx", "pandas", "networkx", "torch"} & set(loaded)


def test_advice_names_extras_that_exist():
    extras = PROJECT["optional-dependencies"]
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "pyproject.toml", *MODULES]
    advised = {name for path in documents for name in re.findall(r"(?:ipusim|\.)\[([a-z,]+)\]", path.read_text())}
    assert "onnx" in advised
    assert {part for name in advised for part in name.split(",")} <= set(extras)


def imports(path):
    """(third-party names a module imports when it is loaded, those that it imports later)."""
    at_load, later = set(), set()

    def visit(node, seen):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            seen = later
        if isinstance(node, ast.Import):
            seen.update(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            seen.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child, seen)

    visit(ast.parse(path.read_text()), at_load)
    foreign = sys.stdlib_module_names | OURS
    return at_load - foreign, later - foreign


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_are_declared(path):
    """What is imported on loading is a dependency; what is imported inside a function may be an extra for users."""
    at_load, later = imports(path)
    required = names(PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    optional = names(r for key in extras if key not in ("test", "dev") for r in extras[key])
    assert at_load <= required
    assert later <= required | optional


def test_each_dependency_is_used():
    used = set().union(*(at_load | later for at_load, later in map(imports, MODULES)))
    assert names(PROJECT["dependencies"]) <= used | set().union(*COMES_WITH.values())
