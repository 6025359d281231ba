"""The decorator: its options, and when compiled code is made anew.  The half conversions, against numpy's."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from ipusim import jit as module
from ipusim.jit import DISABLED, float_to_half, half_to_float, jit, soft_float_to_half, soft_half_to_float

compiled = pytest.mark.skipif(DISABLED, reason="nothing is compiled under NUMBA_DISABLE_JIT")

hard_to_float, hard_to_half = half_to_float, float_to_half
soft_to_float, soft_to_half = jit(soft_half_to_float), jit(soft_float_to_half)


@jit
def _widen_hard(bits, out):
    for i in range(len(bits)):
        out[i] = hard_to_float(bits[i])


@jit
def _widen_soft(bits, out):
    for i in range(len(bits)):
        out[i] = soft_to_float(bits[i])


@jit
def _narrow_hard(values, out):
    for i in range(len(values)):
        out[i] = hard_to_half(values[i])


@jit
def _narrow_soft(values, out):
    for i in range(len(values)):
        out[i] = soft_to_half(values[i])


def all_halves():
    bits = np.arange(1 << 16, dtype=np.uint16)
    return bits[:: 7 if DISABLED else 1]


def hard_cases():
    """Every half, every midpoint of neighbours, the floats next to those, overflow, and floats of any bit pattern."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    ties = ((halves[:-1] + halves[1:]) / 2).astype(np.float32)
    edge = np.array([0, 65519.996, 65520, 65536, 3e38, np.inf, np.nan, 2.0**-25, 1e-45], np.float32)
    infinity = np.float32(np.inf)
    around = [ties, np.nextafter(ties, infinity), np.nextafter(ties, -infinity), halves.astype(np.float32), edge]
    wild = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint32).view(np.float32)
    values = np.concatenate([*around, *(-v for v in around), wild])
    return values[:: 97 if DISABLED else 1]


def same_halves(found, expected):
    """Bitwise equal; of a NaN only that it is one."""
    lost = np.isnan(expected.view(np.float16))
    assert np.array_equal(np.isnan(found.view(np.float16)), lost)
    assert np.array_equal(found[~lost], expected[~lost])


@pytest.mark.parametrize("widen", [_widen_hard, _widen_soft])
def test_every_half_becomes_its_float(widen):
    bits = all_halves()
    found = np.empty(len(bits), np.float32)
    widen(bits, found)
    expected = bits.view(np.float16).astype(np.float32)
    lost = np.isnan(expected)
    assert np.array_equal(np.isnan(found), lost)
    assert np.array_equal(found[~lost].view(np.uint32), expected[~lost].view(np.uint32))


@pytest.mark.parametrize("narrow", [_narrow_hard, _narrow_soft])
def test_floats_round_to_the_nearest_half_and_ties_to_even(narrow):
    values = hard_cases()
    found = np.empty(len(values), np.uint16)
    narrow(values, found)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(np.float16).view(np.uint16)
    same_halves(found, expected)


def test_conversion_there_and_back_changes_nothing():
    bits = all_halves()
    wide, back = np.empty(len(bits), np.float32), np.empty(len(bits), np.uint16)
    _widen_hard(bits, wide)
    _narrow_hard(wide, back)
    same_halves(back, bits)


@compiled
def test_options():
    @jit
    def inverse(x: float) -> float:
        return 1.0 / x

    assert inverse(0.0) == float("inf")
    assert inverse.targetoptions["nogil"]
    assert not inverse.targetoptions.get("fastmath", False)


@compiled
def test_compiles_without_a_place_for_the_code(monkeypatch):
    real = numba.njit

    def no_place(*args, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(module.numba, "njit", no_place)

    @jit
    def double(x: int) -> int:
        return 2 * x

    assert double(21) == 42


def python(code: str, folder: Path, **environment: str) -> str:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=variables | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@compiled
def test_same_conversions_without_a_compiler(tmp_path):
    options = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-k", "half or back", "-rp"]
    code = f"import pytest, sys; sys.exit(pytest.main({[str(Path(__file__).resolve()), *options]!r}))"
    assert python(code, tmp_path, NUMBA_DISABLE_JIT="1").count("PASSED") == 5


@compiled
@pytest.mark.parametrize("how", ["function", "module", "constant"])
def test_compiled_code_is_made_anew_when_what_it_took_from_elsewhere_changes(tmp_path, how):
    inner, outer = tmp_path / "stale_inner.py", tmp_path / "stale_outer.py"
    text = "from ipusim.jit import jit\nSTEP = {}\n\n@jit\ndef step(x):\n    return x + STEP\n"
    imports, used = {
        "function": ("from stale_inner import step", "step(x)"),
        "module": ("import stale_inner", "stale_inner.step(x)"),
        "constant": ("from stale_inner import STEP", "(x + STEP)"),
    }[how]
    outer.write_text(f"from ipusim.jit import jit\n{imports}\n\n@jit\ndef run(x):\n    return 10 * {used}\n")
    code = "from stale_outer import run; print(run(1), sum(run.stats.cache_hits.values()))"
    inner.write_text(text.format(1))
    assert python(code, tmp_path).split() == ["20", "0"]
    assert python(code, tmp_path).split() == ["20", "1"]
    inner.write_text(text.format(2))
    assert python(code, tmp_path).split() == ["30", "0"]
