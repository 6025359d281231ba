"""The Python front door."""

import numpy as np
import programs
import pytest

import ipusim
from ipusim_models import ZOO


def test_names_of_the_front_door():
    assert set(ipusim.__all__) <= set(dir(ipusim))
    for name in ipusim.__all__:
        assert getattr(ipusim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        ipusim.simulat  # noqa: B018
    assert ipusim.half is ipusim.float16
    assert ipusim.__version__


def test_models_and_systems():
    assert set(ipusim.models()) == {*ZOO}
    assert ipusim.systems()["C2"].ipus == 2


def test_a_report_of_resnet50():
    report = ipusim.simulate("resnet50")
    assert (
        report.cycles
        == sum(report.phases.values())
        == sum(s.cycles for s in report.steps)
        == sum(o.cycles for o in report.ops)
    )
    assert report.latency == pytest.approx(report.cycles / 1.6e9)
    assert report.throughput == pytest.approx(1 / report.latency)
    assert report.memory.fits
    assert report.outputs == {}
    step = report.steps[0]
    for name in ("compute", "copies", "sent", "received", "memory"):
        assert getattr(step.tiles, name).shape == (1216,)
    assert {op.method for op in report.ops} >= {"AMP 1x1", "AMP Nx1", "relu", "add"}
    assert sum(op.macs for op in report.ops) == 4_089_184_256


def test_tables():
    report = ipusim.simulate(programs.convnet())
    ops, steps, tiles, memory = (report.to_pandas(t) for t in ("ops", "steps", "tiles", "memory"))
    assert ops["cycles"].sum() == steps["cycles"].sum() == report.cycles
    assert len(tiles) == len(memory) == 1216
    assert memory["total"].max() == report.memory.max_tile_bytes
    assert tiles["received"].sum() == steps["received_bytes"].sum()
    with pytest.raises(ipusim.UnknownName, match="no table named 'opps'; did you mean 'ops'"):
        report.to_pandas("opps")


def test_a_saved_report_is_the_same_report(tmp_path):
    report = ipusim.simulate(programs.convnet(), programs.INPUTS["convnet"], execute=True)
    report.save(tmp_path / "run")
    again = ipusim.load_report(tmp_path / "run")
    assert str(again) == str(report)
    assert again.to_dict() == report.to_dict()
    for name, value in report.outputs.items():
        assert np.array_equal(again.outputs[name], value)
    for mine, other in zip(report.steps, again.steps, strict=True):
        assert np.array_equal(mine.tiles.memory, other.tiles.memory)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken"])
def test_files_that_are_no_reports(content, tmp_path):
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(ipusim.BadInput, match="is not a report that ipusim saved"):
        ipusim.load_report(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ipusim.BadInput, match="is not a report"):
        ipusim.load_report(tmp_path / "array.npy")
    with pytest.raises(ipusim.BadInput, match="no report at"):
        ipusim.load_report(tmp_path / "nosuch")


def test_a_save_that_fails_leaves_nothing(tmp_path):
    report = ipusim.simulate(programs.convnet())
    with pytest.raises(ipusim.BadInput, match="cannot write"):
        report.save(tmp_path / "nosuch" / "run")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ipusim.BadInput, match="cannot write"):
        report.save(tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"batch": 0}, "batch must be a whole number"), ({"batch": True}, "batch must be a whole number"), ({"batch": 3}, "is built for batch 2, not 3"),
    ({"execute": "vertex"}, "execute must be False, True or 'vertices'"), ({"system": "C2"}, "cannot be split over 2 IPUs: build it for batch 1"),
    ({"precision": "bfloat16"}, "bfloat16"), ({"available_memory_proportion": 0}, "above 0"),
])  # fmt: skip
def test_bad_arguments(arguments, message):
    with pytest.raises(ipusim.BadInput) as caught:
        ipusim.simulate(programs.convnet(), **arguments)
    assert message in str(caught.value)


def test_a_model_of_the_wrong_kind():
    with pytest.raises(ipusim.BadInput, match="a model is a name, a path or a Workload, not int"):
        ipusim.simulate(3)


def test_progress_is_told():
    said = []
    ipusim.simulate(programs.convnet(), execute=True, progress=lambda *what: said.append(what))
    assert {stage for stage, _, _ in said} == {"compiling", "executing"}
    assert all(0 <= done < total for _, done, total in said)


@pytest.mark.parametrize("chip", ["GC200", "Bow"])
def test_other_chips(chip):
    report = ipusim.simulate("resnet50", system=chip)
    assert report.memory.fits
    assert report.cycles < ipusim.simulate("resnet50").cycles


def test_a_larger_batch_is_worth_it():
    one, eight = (ipusim.simulate("resnet50", batch=n) for n in (1, 8))
    assert eight.latency > one.latency
    assert eight.throughput > 1.5 * one.throughput


def test_less_memory_for_plans_is_slower_and_smaller():
    from ipusim.hw.presets import GC2
    from ipusim.lower.rules import Options
    from ipusim_kernels.conv.plan import plan
    from ipusim_kernels.conv.shape import ConvShape

    shape = ConvShape(8, 1, 256, 256, 56, 56, 56, 56, 3, 3, (1, 1), (1, 1), (1, 1))
    plans = [plan(shape, ipusim.float16, GC2, Options(memory_proportion=p)) for p in (0.05, 0.1, 0.2, 0.4, 0.8)]
    assert [p.estimate for p in plans] == sorted((p.estimate for p in plans), reverse=True)
    assert [p.temporary for p in plans] == sorted(p.temporary for p in plans)
    assert plans[0].estimate > plans[-1].estimate


def test_the_text_report():
    text = str(ipusim.simulate(programs.convnet()))
    order = ["convnet on GC2", "Target:", "Graph:", "Memory Usage:", "By Tile:", "Execution:", "Slowest ops:"]
    at = [text.index(heading) for heading in order]
    assert at == sorted(at)
    assert "Total Tiles:            1,216" in text
