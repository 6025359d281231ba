"""Every example prints what its .out file says, to the letter."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))


def test_each_example_has_its_output():
    outputs = sorted(p.stem for p in FOLDER.glob("*.out"))
    assert outputs
    assert outputs == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_example(name, tmp_path):
    run = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / f"{name}.py"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == (FOLDER / f"{name}.out").read_text()
