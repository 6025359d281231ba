"""Generated code: kept in a folder of the user under a hash of all it depends on, compiled once, loaded ever after.

The text of a group function is written as a module into `NUMBA_CACHE_DIR`, else `XDG_CACHE_HOME`, else `~/.cache`,
where numba keeps its machine code beside it.  The name carries a hash of the text, of the modules whose
instructions are copied into the machine code, and of the versions of ipusim and numba, so nothing stale is ever
loaded.  A file is written under another name and renamed, with a fixed time stamp, so processes that race write the
same file.  Where nothing can be written, the code is compiled in memory.
"""

from __future__ import annotations

import importlib.util
import linecache
import os
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np

from ipusim import address, jit
from ipusim.lang import machine_llvm, machine_python, status

WORDS = (machine_python if jit.DISABLED else machine_llvm).__name__

_STAMP = 1_000_000_000  # [own choice] modification time of generated files, in seconds
_HASH_DIGITS = 20
_KEPT: dict[str, tuple[int, Any]] = {}


@lru_cache(maxsize=1)
def _surroundings() -> bytes:
    """What compiled code depends on besides its text."""
    made = sha256()
    for file in (__file__, *(m.__file__ for m in (address, jit, machine_llvm, machine_python, status))):
        made.update(Path(file or "").read_bytes())
    try:
        made.update(version("ipusim").encode())
    except PackageNotFoundError:
        made.update(b"not installed")
    made.update(f"{numba.__version__} {sys.version_info[:2]} {jit.HARD_HALF}".encode())
    return made.digest()


def folder() -> Path:
    """Where generated code is kept."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen) / "ipusim-codelets"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ipusim" / "codelets"


def _written(text: str, name: str) -> Path | None:
    """The file that has a text, or None where none can be written."""
    try:
        place = folder()
        path = place / f"{name}.py"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return path
        place.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=place)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.utime(temporary, (_STAMP, _STAMP))
        Path(temporary).replace(path)
    except (OSError, RuntimeError):  # read-only, or no home
        return None
    return path


def _loaded(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba keeps the name with the machine code, and imports it when that is loaded
    spec.loader.exec_module(module)
    return module


def _in_memory(text: str, name: str) -> ModuleType:
    module = ModuleType(name)
    file = f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), vars(module))
    return module


def _compiled(function: Callable[..., Any], *, cache: bool) -> Any:
    signature = "void(int64, int64, int64)"
    options: dict[str, Any] = {"nopython": True, "error_model": "numpy", "no_rewrites": True}
    try:
        return numba.cfunc(signature, cache=cache, **options)(function)
    except Exception:  # no place for machine code, or what lies there is damaged
        if not cache:
            raise
        return numba.cfunc(signature, cache=False, **options)(function)


def _quiet(function: Callable[..., Any]) -> Callable[[int, int, int], None]:
    """Plain Python that overflows as silently as the tile does."""

    def group(table: int, low: int, high: int) -> None:
        with np.errstate(all="ignore"):
            function(table, low, high)

    return group


def compile_group(text: str, title: str) -> int:
    """Address of the `group` function of a module text (under NUMBA_DISABLE_JIT, its key in `ipusim.address`)."""
    digest = sha256(text.encode() + _surroundings()).hexdigest()[:_HASH_DIGITS]
    name = f"ipusim_codelet_{title if title.isascii() else ''}_{digest}"
    if name not in _KEPT:
        if jit.DISABLED:
            function = _quiet(_in_memory(text, name).group)
            _KEPT[name] = address.register(function), function
        else:
            path = _written(text, name)
            module = _loaded(path, name) if path is not None else _in_memory(text, name)
            kernel = _compiled(module.group, cache=path is not None)
            _KEPT[name] = int(kernel.address), kernel
    return _KEPT[name][0]
