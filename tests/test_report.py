"""What a report says beyond cycles: plans, kinds and bands of figures, clock scenarios, what fills a tile."""

import dataclasses
import json

import numpy as np
import programs
import pytest

import ipusim
from ipusim import Engine, Graph, Input, Output, Vector, codelet, float32, target
from ipusim import program as prog
from ipusim.engine.trace import PHASES
from ipusim.hw import mechanisms
from ipusim.hw.presets import CHIP_NUMBERS, CLOCKS
from ipusim.lower.rules import PlanNote
from ipusim.report import plans, store
from ipusim.report.figures import parts
from ipusim.report.profile import OpSummary
from ipusim.view.plans import render_plans


@pytest.fixture(scope="module")
def report():
    return ipusim.simulate(programs.convnet())


def op(name, cycles):
    return OpSummary(name, "Conv", cycles, 0, 0, "AMP 1x1", "compute", {}, {})


NOTE = PlanNote(
    "AMP Nx1",
    (("oy", 4), ("co", 16), ("serial co", 2)),
    1000,
    (("input exchange", 300), ("partial calculation", 600), ("input exchange", 100)),
    70_000,
    ("swapping operands",),
    PlanNote("SLIC", (("oy", 8),), 1250, (("partial calculation", 1250),), 30_000),
)


# -- plans -------------------------------------------------------------------------------------------------------------


def test_ops_that_a_planner_chose_for_have_plans(report):
    assert [p.name for p in report.plans] == [o.name for o in report.ops if o.type in ("Conv", "MatMul")]
    cycles = {o.name: o.cycles for o in report.ops}
    for plan in report.plans:
        assert plan.cycles == cycles[plan.name]
        assert plan.estimate > 0
        assert plan.bound == int(0.6 * 262_144)
        assert not plan.items or sum(plan.items.values()) == plan.estimate


def test_a_plan_is_what_the_note_says():
    (plan,) = plans.plans({1: NOTE}, [op("a", 5), op("b", 1100)], 100_000)
    assert (plan.name, plan.cycles, plan.estimate) == ("b", 1100, 1000)
    assert plan.items == {"input exchange": 400, "partial calculation": 600}
    assert plan.share_of_bound == pytest.approx(0.7)
    assert (plan.runner_up.method, plan.runner_up.estimate, plan.runner_up.cycles) == ("SLIC", 1250, 0)
    assert plans.stored(json.loads(json.dumps(dataclasses.asdict(plan)))) == plan
    found = plan.to_dict()
    assert found["runner_up"]["items"] == {"partial calculation": 1250}
    assert found["share_of_bound"] == plan.share_of_bound


def test_views_and_ops_without_a_choice_have_none():
    assert plans.plans({0: PlanNote("view"), 1: PlanNote("relu")}, [op("a", 5), op("b", 5)], 100) == ()


def test_the_text_of_plans():
    found = plans.plans(dict.fromkeys(range(5), NOTE), [op(f"layer{i}", 1000 + 10 * i) for i in range(5)], 100_000)
    text = render_plans(found)
    for piece in (
        "5 ops, 1 different plan,",
        "5 x layer0, layer1, layer2 and 2 more (Conv)",
        "AMP Nx1, with swapping operands, split oy 4 x co 16, one after the other co 2",
        "estimate 1,000 cycles; simulated 1,000 to 1,040 (+0 to +4 %)",
        "temporary memory 70,000 bytes, 70 % of what is allowed",
        "made of input exchange 400 + partial calculation 600",
        "runner-up: SLIC, split oy 8: estimate 1,250 cycles (+25 %), 30,000 bytes",
        "co output channels of a group, oy output rows",
    ):
        assert piece in text
    assert "none" not in text.lower()
    assert "no op of this model" in render_plans(())


def test_no_line_of_the_plans_is_too_long(report):
    assert max(map(len, render_plans(report.plans).splitlines())) <= 120
    assert max(map(len, str(report).splitlines())) <= 120


def test_a_plan_over_the_bound_is_told():
    found = plans.plans({0: NOTE, 1: NOTE}, [op("a", 5), op("b", 5)], 69_000)
    said = plans.over_bound(found)
    assert "2 ops need more temporary memory than available_memory_proportion allows (69,000 bytes" in said
    assert "'a', 70,000 bytes" in said
    assert plans.over_bound(plans.plans({0: NOTE}, [op("a", 5)], 70_000)) == ""


def test_a_bound_of_less_than_a_byte_is_broken_by_every_plan():
    b = ipusim.WorkloadBuilder("net")
    made = b.build({"y": b.matmul(b.input("x", (4, 8)), np.ones((8, 4), np.float32), name="dense")})
    report = ipusim.simulate(made, available_memory_proportion=1e-9)
    assert report.plans[0].share_of_bound > 1
    assert "1 op needs more temporary memory" in str(report)


# -- figures -----------------------------------------------------------------------------------------------------------


def test_every_figure_has_a_kind_and_a_band_around_it(report):
    figures = report.figures
    assert {"cycles", "latency", "throughput", "memory", "memory of the fullest tile"} <= set(figures)
    assert {f"phase {phase}" for phase in PHASES} <= set(figures)
    for figure in figures.values():
        assert figure.kind in mechanisms.KINDS
        assert figure.low <= figure.value <= figure.high
        assert bool(figure.mechanisms) == bool(figure.value)
    assert figures["cycles"].value == report.cycles
    assert figures["latency"].value == pytest.approx(report.latency)
    assert figures["throughput"].value == pytest.approx(report.throughput)
    assert figures["memory"].value == report.memory.total_bytes
    assert figures["memory of the fullest tile"].value == report.memory.max_tile_bytes
    assert report.latency_band == pytest.approx(tuple(c / 1.6e9 for c in report.cycles_band))


def test_parts_add_up_and_the_band_of_the_whole_holds_theirs(report):
    made_of = parts(report.profile)
    assert sum(n for _, n in made_of) == report.cycles
    low, high = report.cycles_band
    whole = mechanisms.OF_TOTALS["between kernels"]
    assert low == min(sum(n * (1 + m.low) for m, n in made_of), report.cycles * (1 + whole.low))
    assert high == max(sum(n * (1 + m.high) for m, n in made_of), report.cycles * (1 + whole.high))
    assert report.figures["cycles"].kind == "assumed"


def test_every_phase_category_and_profile_has_a_mechanism(report):
    for phase in PHASES:
        for chip in CHIP_NUMBERS:
            for ipus in (1, 2):
                assert mechanisms.of_phase(phase, mechanisms.LIBRARY, chip, ipus).name in mechanisms.MECHANISMS
    for category in report.profile.tile_categories:
        assert mechanisms.of_memory(category).name == category
    for mechanism in (mechanisms.MECHANISMS | mechanisms.OF_TOTALS | mechanisms.OF_MEMORY).values():
        assert mechanism.kind in mechanisms.KINDS
        assert -1 < mechanism.low <= 0 <= mechanism.high


def test_ops_have_bands_that_add_up_to_those_of_the_parts(report):
    ops = report.to_pandas("ops")
    made_of = parts(report.profile)
    assert ops["low"].sum() == pytest.approx(sum(n * (1 + m.low) for m, n in made_of))
    assert ops["high"].sum() == pytest.approx(sum(n * (1 + m.high) for m, n in made_of))
    assert set(ops["kind"]) <= set(mechanisms.KINDS)


@pytest.mark.parametrize(("profile", "override", "name"), [
    ("popc", None, "codelets, compiled"), ("list", None, "codelets, by hand"), ("asm", None, "codelets, by hand"),
    ("popc", 70, "codelets, stated"), ("popc", lambda **_: 70, "codelets, stated"),
])  # fmt: skip
def test_mechanisms_of_codelets(profile, override, name):
    assert mechanisms.of_codelet(profile, override) == name


def test_vertices_of_an_installed_kernel_package_are_the_librarys():
    from ipusim_kernels.popops.cycles import FillTiming

    assert mechanisms.of_codelet("popc", FillTiming(4, True)) == "library vertices"


@codelet
def halve(x: Input[Vector[float32]], y: Output[Vector[float32]]) -> None:
    for i in range(len(y)):
        y[i] = x[i] * 0.5


@codelet(cycles=600)
def stated(x: Input[Vector[float32]], y: Output[Vector[float32]]) -> None:
    for i in range(len(y)):
        y[i] = x[i] * 0.5


def engine(made):
    """A step that reads from another tile."""
    g = Graph(target("GC2", tiles=2))
    x, y = (g.add_variable(64, float32, name) for name in "xy")
    g.set_tile_mapping(x, 0)
    g.set_tile_mapping(y, 1)
    step = g.add_compute_set("halve")
    g.add_vertex(step, made, {"x": x, "y": y}, tile=1)
    parts = [prog.Execute(step)]
    return Engine(g, prog.Sequence(*parts)), g


def test_a_tile_program_is_as_sure_as_its_codelets():
    found = {}
    for made in (halve, stated):
        e, _ = engine(made)
        e.run()
        report = e.report()
        figure = report.figures["phase compute"]
        found[made.name] = (figure.mechanisms, figure.kind)
        assert "between kernels" not in report.figures["cycles"].mechanisms
        assert "throughput" not in report.figures
        assert report.plans == ()
        assert "How far to trust it" in str(report)
    assert found == {
        "halve": (("codelets, compiled",), "fitted"),
        "stated": (("codelets, stated",), "assumed"),
    }


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_another_clock_is_the_same_cycles_in_another_time(report):
    slow = report.at_clock(1.3e9)
    assert slow.cycles == report.cycles
    assert slow.latency == pytest.approx(report.latency * 1.6 / 1.3)
    assert "cycles at 1.3 GHz)" in str(slow)
    assert "At 1.6 GHz:" in str(slow)
    assert "chip.clock_hz = 1.3e+09 (GC2 has 1.6e+09)" in str(slow)
    for bad in (0, -1, float("nan")):
        with pytest.raises(ipusim.BadHardware, match="clock_hz"):
            report.at_clock(bad)


def test_the_host_keeps_its_own_time_at_another_clock(report):
    step = report.profile.steps[0]
    with_host = dataclasses.replace(step, phases=step.phases | {"host": 1_600_000})
    profile = dataclasses.replace(report.profile, steps=(with_host, *report.profile.steps[1:]))
    assert profile.at_clock(1.3e9).phases["host"] == 1_300_000
    assert profile.at_clock(1.3e9).cycles == profile.cycles - 300_000


def test_the_clocks_of_a_chip_are_named_with_their_source(report):
    assert "At 1.3 GHz:" in str(report)
    (other,) = report.to_dict()["clocks"]
    assert other["clock_hz"] == 1.3e9
    assert other["latency_s"] == pytest.approx(report.cycles / 1.3e9)
    for chip, clocks in CLOCKS.items():
        assert CHIP_NUMBERS[chip]["clock_hz"].value in [c.value for c in clocks]
        assert all(c.source and c.note for c in clocks)


# -- files and tables --------------------------------------------------------------------------------------------------


def test_tables_of_plans_and_figures(report):
    found, figures = report.to_pandas("plans"), report.to_pandas("figures")
    assert list(found["name"]) == [p.name for p in report.plans]
    assert found["estimate"].tolist() == [p.estimate for p in report.plans]
    assert (figures["low"] <= figures["value"]).all()
    assert set(figures["name"]) == set(report.figures)


def test_json_has_plans_figures_and_what_is_behind_them(report):
    found = json.loads(json.dumps(report.to_dict()))
    assert [p["name"] for p in found["plans"]] == [p.name for p in report.plans]
    assert {"method", "transforms", "splits", "estimate", "items", "temporary", "runner_up", "cycles"} <= set(found["plans"][0])
    named = {m["name"] for m in found["mechanisms"]}
    assert named == {name for f in found["figures"] for name in f["mechanisms"]}
    assert found["cycles_band"][0] <= found["cycles"] <= found["cycles_band"][1]


def test_plans_and_mechanisms_are_kept_in_a_file(tmp_path):
    e, _ = engine(halve)
    e.run()
    made = e.report()
    (plan,) = plans.plans({0: NOTE}, [op("a", 5)], 100_000)
    full = dataclasses.replace(made, profile=dataclasses.replace(made.profile, plans=(plan,)))
    full.save(tmp_path / "run")
    again = ipusim.load_report(tmp_path / "run")
    assert again.plans == (plan,)
    assert [s.computes for s in again.steps] == ["codelets, compiled"]
    assert again.profile.system == made.profile.system
    assert str(again) == str(full)


def opened(path):
    """The head of a saved report and its arrays."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays["head"].tobytes()), arrays


def rewrite(path, head, arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays | {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)})


def test_a_file_with_strange_fields_is_refused(report, tmp_path):
    path = tmp_path / "run"
    report.save(path)
    head, arrays = opened(path)
    head["profile"]["system"]["chip"]["wings"] = 2
    rewrite(path, head, arrays)
    with pytest.raises(ipusim.BadInput, match=r"other fields than this one: .*wings"):
        ipusim.load_report(path)


def test_a_file_of_the_first_version_still_loads(report, tmp_path):
    path = tmp_path / "run"
    report.save(path)
    head, arrays = opened(path)
    assert head["version"] == store.VERSION == 2
    head["version"] = 1
    head["profile"]["steps"] = [step[:6] for step in head["profile"]["steps"]]
    del head["profile"]["plans"]
    rewrite(path, head, arrays)
    old = ipusim.load_report(path)
    assert old.plans == ()
    assert old.cycles == report.cycles
    assert old.cycles_band == report.cycles_band


# -- memory and several IPUs -------------------------------------------------------------------------------------------


def tight(**options):
    """A model on two tiles of little memory."""
    chip = ipusim.systems()["GC2"].chip.with_fields({"tiles": 2, "tile.memory_bytes": 16384})
    return ipusim.simulate(programs.convnet(), system=chip, **options)


def test_a_tile_that_is_too_full_is_explained():
    report = tight()
    text = str(report)
    held = report.memory.categories
    fullest = max(held, key=held.get)
    assert f"What fills tile {report.memory.worst_tile}: {fullest} {held[fullest]:,} B" in text
    assert text.index("Largest variables on tile") < text.index("What would help:")
    assert "a chip with more tiles or more memory per tile" in text
    assert report.plans
    assert "Changed:                chip.tiles = 2 (GC2 has 1,216)" in text


def test_the_proportion_goes_one_way():
    for proportion in (0.01, 0.6):
        lever = tight(available_memory_proportion=proportion).memory.lever
        assert not ("raise available" in lever and "lower available" in lever), lever


def test_several_ipus_are_shown_one_by_one():
    e, _ = engine(halve)
    e.run()
    made = e.report().profile
    system = dataclasses.replace(made.system, ipus=2, chip=made.system.chip.with_fields({"tiles": 1}))
    two = dataclasses.replace(made, system=system)
    assert two.ipus_in_use == 2
    text = str(ipusim.api.Report(two, {}, {}))
    assert "By IPU (all supersteps):" in text
    sent = [line for line in text.splitlines() if line.strip().startswith("0  ")]
    assert len(sent) == 1
    assert "256" in sent[0]
    assert "IPUs per Replica:       2" in text
    assert "By IPU" not in str(ipusim.api.Report(made, {}, {}))


def test_what_fits_narrowly_may_not_fit_on_a_chip(report):
    assert "may not fit" not in str(report)
    limit = report.memory.max_tile_bytes
    memory = dataclasses.replace(report.memory, tile_limit_bytes=limit)
    narrow = dataclasses.replace(report.profile, memory=memory)
    assert f"fits; fullest tile {limit:,} of {limit:,} bytes" in str(ipusim.api.Report(narrow, {}, {}))
    assert "on a chip: may not fit)" in str(ipusim.api.Report(narrow, {}, {}))


def test_transfers_of_the_host_are_added_if_asked(report):
    with_host = ipusim.simulate(programs.convnet(), host=True)
    extra = with_host.phases["host"]
    assert report.phases["host"] == 0
    assert extra > 0
    assert with_host.cycles == report.cycles + extra
    assert with_host.figures["phase host"].mechanisms == ("host link",)
    assert "inputs are on the chip" in str(report)
    assert "inputs are on the chip" not in str(with_host)
    assert with_host.to_pandas("steps")["op"].tolist()[0] == ""


def test_exchanges_in_closed_form_are_a_lower_bound(report):
    bound = ipusim.simulate(programs.convnet(), exchange="closed form")
    assert 0 < bound.phases["exchange"] <= report.phases["exchange"]
    assert "a lower bound" in str(bound)
    with pytest.raises(ipusim.UnknownName, match="did you mean 'closed form'"):
        ipusim.simulate(programs.convnet(), exchange="closed-form")
