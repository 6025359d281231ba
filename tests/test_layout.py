"""The tree is as docs/layout.md says, and modules keep the house rules that a linter does not know."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "src" / "ipusim", ROOT / "kernels" / "ipusim_kernels", ROOT / "models" / "ipusim_models"]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
STAGES = ("importers", "workload", "lower", "program", "engine", "report", "view")
LONGEST_MODULE = 450


def listed():
    """First column of the table in docs/layout.md."""
    return re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "layout.md").read_text(), re.MULTILINE)


def test_the_map_is_the_tree():
    folders = {p.parent for p in PACKAGES[0].glob("*/__init__.py")} | set(PACKAGES)
    folders |= {ROOT / name for name in ("tests", "benchmarks", "examples", "docs")}
    assert {ROOT / name for name in listed() if name.endswith("/")} == folders
    assert [name for name in listed() if not (ROOT / name).exists()] == []


def test_the_map_follows_the_data():
    order = [Path(name).name for name in listed()]
    assert [name for name in order if name in STAGES] == list(STAGES)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_nothing_else_is_importable_beside_a_package(package):
    """The roots are on sys.path in an editable install."""
    beside = [p for p in package.parent.iterdir() if p.suffix == ".py" or (p.is_dir() and any(p.glob("*.py")))]
    assert beside == [package]
    assert (package / "py.typed").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module(path):
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), "has no docstring"
    assert len(source.splitlines()) <= LONGEST_MODULE
