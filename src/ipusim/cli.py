"""The `ipusim` command: run, validate, systems, models.

Results go to stdout, progress and errors to stderr.  Exit codes: 0 done; 2 bad usage or bad input, with one line that
says what; 3 the model does not fit (the report is written all the same); 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from ipusim.errors import BadInput, IpuSimError

if TYPE_CHECKING:
    from ipusim.api import Report

DONE, BAD, DOES_NOT_FIT, INTERRUPTED = 0, 2, 3, 130


def _file(text: str) -> str:
    """The name of a file, which is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text is no file name")
    return text


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(BAD)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(prog="ipusim", description="Simulate models on Graphcore's IPU.")
    top.add_argument("--version", action="store_true", help="print the version and stop")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    run = commands.add_parser("run", help="simulate a model and print its latency report")
    run.add_argument("model", help="a zoo model (see `ipusim models`) or an ONNX file")
    run.add_argument("--system", default="GC2", help="system to run on (see `ipusim systems`; default GC2)")
    run.add_argument("--batch", type=int, help="samples in all (default: 1, or what the model says)")
    run.add_argument("--precision", default="float16", help="float16 (default) or float32")
    run.add_argument("--partials", default="float32", help="type of partial sums in float16 runs (default float32)")
    run.add_argument(
        "--available-memory-proportion",
        type=float,
        default=0.6,
        metavar="P",
        help="share of a tile's memory for the temporary data of one plan (default 0.6)",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="FIELD=VALUE",
        help="change the system, e.g. chip.tiles=608 (repeatable)",
    )
    run.add_argument("--host", action="store_true", help="also move inputs and results over the host link")
    run.add_argument(
        "--exchange",
        choices=("schedule", "closed-form"),
        default="schedule",
        help="how exchanges are timed: each message placed (default), or by the busiest tile alone, a lower bound",
    )
    run.add_argument("--execute", action="store_true", help="also compute the outputs")
    run.add_argument(
        "--inputs", type=_file, metavar="FILE.npz", help="arrays by input name, for --execute (default: seeded)"
    )
    run.add_argument("--outputs", type=_file, metavar="FILE.npz", help="where to write the computed outputs")
    run.add_argument("--seed", type=int, default=0, help="seed of random weights and inputs (default 0)")
    run.add_argument("--threads", type=int, default=1, help="host threads for computing values (default 1)")
    text = run.add_mutually_exclusive_group()
    text.add_argument("--plans", action="store_true", help="print how each op was planned, in place of the text report")
    text.add_argument("--steps", action="store_true", help="list every superstep in the text report")
    run.add_argument(
        "--save", type=_file, metavar="FILE", help="save the whole report, to be loaded with ipusim.load_report"
    )
    run.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    check = commands.add_parser("validate", help="compare predictions with the measured points or counts of a file")
    what_file = check.add_mutually_exclusive_group(required=True)
    what_file.add_argument(
        "--data",
        type=_file,
        metavar="FILE.csv",
        help="measured points: columns id, chip, workload, config (name=value;...), metric, unit, value (may be empty)",
    )
    what_file.add_argument(
        "--vertices",
        type=_file,
        metavar="FILE.csv",
        help="counts by vertex: columns vertex, chip (mk1 or mk2), params (name=value;...) and cycles (may be empty)",
    )
    check.add_argument("--jobs", type=int, metavar="N", help="processes that share the points of --data (default 1)")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    for name, what in (("systems", "list the systems that can be simulated"), ("models", "list the models of the zoo")):
        listing = commands.add_parser(name, help=what)
        listing.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    with _Interrupt() as interrupt:
        try:
            return _command(arguments)
        except KeyboardInterrupt:
            pass
        except Exception:
            if not interrupt.seen:  # else a library turned the interrupt into an error of its own
                raise
        print("\nipusim: interrupted", file=sys.stderr)
        exec("")  # CPython remembers an interrupt that left an exec of text (dataclasses use it) and would exit by it
        return INTERRUPTED


class _Interrupt:
    """Ctrl-C as KeyboardInterrupt, and remembered: compilers catch it, or meet it where nothing can be raised."""

    def __init__(self) -> None:
        self.seen = False
        self._before: Any = None
        self._hook = sys.unraisablehook

    def __enter__(self) -> _Interrupt:
        _Progress.stop = False
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._hook
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.seen = _Progress.stop = True
        sys.unraisablehook = lambda _: None
        raise KeyboardInterrupt


def _command(arguments: Sequence[str] | None) -> int:
    try:
        chosen = parser().parse_args(arguments)
        if chosen.version:
            import ipusim

            print(f"ipusim {ipusim.__version__}")
            return DONE
        if chosen.command is None:
            parser().print_help()
            return BAD
        handlers = {"run": _run, "validate": _validate, "systems": _systems, "models": _models}
        return handlers[chosen.command](chosen)
    except SystemExit as stop:
        return int(stop.code or 0)
    except IpuSimError as error:
        print(f"ipusim: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD
    except BrokenPipeError:
        sys.stderr.close()
        return DONE


class _Progress:
    """Tells on stderr how far long work has come: nothing in the first second, then now and then.

    Stops the work if an interrupt was lost on the way here.
    """

    stop = False

    def __init__(self) -> None:
        self.started = self.said = time.monotonic()
        self.live = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if _Progress.stop:
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self.started > 1 and now - self.said > (0.1 if self.live else 5):
            self.said = now
            text = f"ipusim: {stage} {done + 1} of {total}"
            print(f"\r{text:<60}" if self.live else text, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clears the line."""
        if self.live and self.said > self.started:
            print(f"\r{'':<60}\r", end="", file=sys.stderr, flush=True)


def _run(chosen: argparse.Namespace) -> int:
    from ipusim.api import simulate
    from ipusim.hw.presets import system

    if (chosen.inputs or chosen.outputs) and not chosen.execute:
        raise BadInput("--inputs and --outputs need --execute")
    target = system(chosen.system).parse_settings(chosen.settings)
    for name in (chosen.save, chosen.outputs):
        if name and not Path(name).absolute().parent.is_dir():
            raise BadInput(f"cannot write {name}: its folder does not exist")
    progress = _Progress()
    try:
        report = simulate(
            chosen.model,
            _read_inputs(chosen.inputs) if chosen.inputs else None,
            system=target,
            batch=chosen.batch,
            execute=chosen.execute,
            precision=chosen.precision,
            partials=chosen.partials,
            available_memory_proportion=chosen.available_memory_proportion,
            seed=chosen.seed,
            threads=chosen.threads,
            exchange=chosen.exchange.replace("-", " "),
            host=chosen.host,
            progress=progress,
        )
    finally:
        progress.close()
    return _deliver(report, chosen)


def _deliver(report: Report, chosen: argparse.Namespace) -> int:
    if chosen.save:
        report.save(chosen.save)
    if chosen.outputs:
        import numpy as np

        from ipusim.report.store import write_atomically

        outputs: dict[str, Any] = report.outputs
        write_atomically(Path(chosen.outputs), lambda file: np.savez(file, **outputs))
    if chosen.json:
        print(json.dumps(report.to_dict()))
    else:
        print(_text(report, chosen), end="")
        for name, array in report.outputs.items():
            print(f"Output {name}: {array.dtype}{list(array.shape)}, from {array.min():.6g} to {array.max():.6g}")
    sys.stdout.flush()
    memory = report.memory
    if memory.fits:
        return DONE
    largest = ", ".join(f"{name} ({size:,} bytes, {why})" for name, size, why in memory.largest[:3])
    held = sorted(memory.categories.items(), key=lambda item: -item[1])[:3]
    print(
        f"ipusim: does not fit: tile {memory.worst_tile} needs {memory.max_tile_bytes:,} bytes "
        f"and has {memory.tile_limit_bytes:,}; most is {', '.join(f'{name} ({size:,})' for name, size in held)}; "
        f"its largest variables are {largest}; what would help: {memory.lever}",
        file=sys.stderr,
    )
    return DOES_NOT_FIT


def _text(report: Report, chosen: argparse.Namespace) -> str:
    from ipusim.view.plans import render_plans
    from ipusim.view.text import headline, render

    if chosen.plans:
        return headline(report.profile) + "\n" + render_plans(report.plans)
    return render(report.profile, execution_steps=chosen.steps)


def _read_inputs(name: str) -> dict[str, Any]:
    import zipfile

    import numpy as np

    try:
        file = np.load(name, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise BadInput(f"{name} holds one array without a name: save with numpy.savez(file, input_name=array)")
        with file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise BadInput(f"no file {name}") from None
    except BadInput:
        raise
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile):
        raise BadInput(f"{name} is not a file that numpy.savez wrote") from None


def _validate(chosen: argparse.Namespace) -> int:
    found: Any
    if chosen.data is not None:
        from ipusim.validate_data import data

        progress = _Progress()
        try:
            found = data(chosen.data, progress, jobs=1 if chosen.jobs is None else chosen.jobs)
        finally:
            progress.close()
    elif chosen.jobs is not None:
        raise BadInput("--jobs is for --data: counts of --vertices are formulas, which one process evaluates at once")
    else:
        from ipusim.validate import vertices

        found = vertices(chosen.vertices)
    print(json.dumps(found.to_dict()) if chosen.json else found)
    return DONE


def _systems(chosen: argparse.Namespace) -> int:
    from ipusim.hw.presets import SYSTEMS

    if chosen.json:
        listed = [
            {
                "name": s.name,
                "summary": s.summary,
                "ipus": s.ipus,
                "tiles_per_ipu": s.chip.tiles,
                "memory_per_tile": s.chip.tile.memory_bytes,
                "clock_hz": s.chip.clock_hz,
            }
            for s in SYSTEMS.values()
        ]
        print(json.dumps({"schema": "ipusim.systems", "version": 1, "systems": listed}))
        return DONE
    print(f"{'name':<8} {'IPUs':>4} {'tiles':>6} {'KiB/tile':>8} {'GHz':>6}  summary")
    for s in SYSTEMS.values():
        chip = s.chip
        memory, clock = chip.tile.memory_bytes // 1024, chip.clock_hz / 1e9
        print(f"{s.name:<8} {s.ipus:>4} {chip.tiles:>6} {memory:>8} {clock:>6.3f}  {s.summary}")
    return DONE


def _models(chosen: argparse.Namespace) -> int:
    from ipusim.api import models

    if chosen.json:
        listed = [{"name": name, "summary": summary} for name, summary in models().items()]
        print(json.dumps({"schema": "ipusim.models", "version": 1, "models": listed}))
        return DONE
    for name, summary in models().items():
        print(f"{name:<12} {summary}")
    return DONE
