"""Recurrent layers: values against the independent evaluator and PyTorch, whole and vertex by vertex, and laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_check import check
from recurrent_layers import STEPS, layer

import ipusim
from ipusim.dtype import float32
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.ops_recurrent import ACTIVATIONS, CELLS, Activation
from ipusim_kernels.recurrent.codelets import JoinAttrs, join_cycles


def outputs(workload, arrays, **options):
    return ipusim.simulate(workload, arrays, execute=True, **{"precision": "float32"} | options).outputs


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("cell", CELLS)
def test_cell(cell, direction):
    check(*layer(cell, ("bias", "h", "lengths"), direction=direction), tolerance=1e-5, half=5e-3)


@pytest.mark.parametrize(
    ("cell", "optional", "options"),
    [
        ("rnn", (), {}),
        ("rnn", ("bias",), {"clip": 0.3, "activations": ["relu"]}),
        ("lstm", ("bias", "h", "c", "peepholes"), {}),
        ("lstm", ("bias", "peepholes", "lengths"), {"clip": 0.4, "direction": "bidirectional"}),
        ("lstm", ("c",), {"input_forget": True, "clip": 0.5}),
        ("gru", ("bias", "h"), {"linear_before_reset": True}),
        ("gru", ("bias", "lengths"), {"linear_before_reset": True, "direction": "reverse", "clip": 0.2}),
    ],
)
def test_option(cell, optional, options):
    check(*layer(cell, optional, **options), tolerance=1e-5, half=5e-3)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation(kind):
    function = Activation(kind, 0.4, 0.3) if ACTIVATIONS[kind] != (0.0, 0.0) else kind
    check(*layer("rnn", ("bias",), activations=[function]), tolerance=1e-5, half=5e-3)


@settings(max_examples=8)
@given(st.sampled_from(sorted(CELLS)), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
def test_a_reverse_layer_is_a_forward_one_on_the_sequence_turned_round(cell, steps, batch, seed):
    forward, arrays = layer(cell, ("bias", "h"), steps=steps, batch=batch, seed=seed)
    reverse, _ = layer(cell, ("bias", "h"), steps=steps, batch=batch, direction="reverse")
    first = outputs(forward, arrays)
    second = outputs(reverse, arrays | {"x": arrays["x"][::-1]})
    assert np.array_equal(first["y0"], second["y0"][::-1])
    assert np.array_equal(first["y1"], second["y1"])


@settings(max_examples=6)
@given(st.sampled_from(sorted(CELLS)), st.integers(0, 9))
def test_a_sequence_does_not_depend_on_its_companions(cell, seed):
    workload, arrays = layer(cell, ("bias",), seed=seed)
    alone, _ = layer(cell, ("bias",), batch=1)
    assert np.array_equal(
        outputs(workload, arrays)["y0"][:, :, 1:2], outputs(alone, arrays | {"x": arrays["x"][:, 1:2]})["y0"]
    )


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_of_its_own_length_is_a_shorter_one(cell):
    workload, arrays = layer(cell, ("bias", "lengths"))
    arrays["lengths"][:] = 2
    long = outputs(workload, arrays)
    shorter, _ = layer(cell, ("bias",), steps=2)
    short = outputs(shorter, {k: v[:2] if k == "x" else v for k, v in arrays.items() if k != "lengths"})
    assert np.array_equal(long["y0"][:2], short["y0"])
    assert not long["y0"][2:].any()
    assert np.array_equal(long["y1"], short["y1"])


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_lstm_is_that_of_torch(precision):
    torch = pytest.importorskip("torch")
    model = torch.nn.LSTM(16, 32)
    order = [0, 3, 1, 2]  # torch: input, forget, cell, output
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}

    def turned(name):
        parts = np.split(weights[name], 4)
        return np.concatenate([parts[k] for k in order])[None]

    b = WorkloadBuilder("lstm")
    x = b.input("x", (20, 2, 16))
    bias = np.concatenate([turned("bias_ih_l0"), turned("bias_hh_l0")], axis=1)
    made = b.lstm(x, b.constant(turned("weight_ih_l0")), b.constant(turned("weight_hh_l0")), b.constant(bias))
    given = np.random.default_rng(0).standard_normal((20, 2, 16)).astype(np.float32)
    with torch.no_grad():
        want = model(torch.from_numpy(given))[0].numpy()
    got = outputs(b.build({"y": made[0]}), {"x": given}, precision=precision)["y"][:, 0]
    assert np.abs(got - want).max() < (1e-5 if precision == "float32" else 5e-3)


@pytest.mark.parametrize("mode", [True, "vertices"])
@pytest.mark.parametrize("length", [-1, STEPS + 1])
def test_a_length_out_of_range_names_the_node(mode, length):
    workload, arrays = layer("gru", ("lengths",), name="my gru")
    arrays["lengths"][1] = length
    which = "sequence 1" if mode is True else "a sequence"  # a vertex sees some of them
    with pytest.raises(BadInput, match=rf"'my gru'.*{which} has length {length}.*4 steps"):
        ipusim.simulate(workload, arrays, execute=mode, precision="float32")


@pytest.mark.parametrize(
    ("cell", "given", "options", "message"),
    [
        ("lstm", (), {"direction": "sideways"}, "'l'.*sideways"),
        ("lstm", (), {"activations": ["wave"] * 3}, "'l'.*no activation 'wave'"),
        ("rnn", (), {"activations": ["tanh"] * 2}, "'l'.*2 activations, a forward rnn takes 1"),
        ("rnn", (), {"clip": -1.0}, "'l'.*clip -1.0"),
        ("rnn", (), {"clip": float("nan")}, "'l'.*clip nan"),
        ("gru", (), {"input_forget": True}, "'l'.*input_forget is an option of cell 'lstm'"),
        ("lstm", (), {"linear_before_reset": True}, "'l'.*linear_before_reset is an option of cell 'gru'"),
        ("gru", ("c",), {}, "'l'.*operand 'c' of cell 'gru'"),
    ],
)
def test_bad_options_name_the_node(cell, given, options, message):
    with pytest.raises(BadInput, match=message):
        layer(cell, given, name="l", **options)


def test_a_state_of_the_wrong_shape():
    b = WorkloadBuilder("w")
    x, w, r, h = (b.input(n, s) for n, s in zip("xwrh", ((4, 3, 5), (1, 6, 5), (1, 6, 6), (1, 2, 6)), strict=True))
    with pytest.raises(BadInput, match=r"'l'.*h \(1, 2, 6\) must be \(1, 3, 6\)"):
        b.recurrent("rnn", x, w, r, h=h, name="l")


def test_activations_take_time():
    """Each costs more than none, and what it is made of at least."""
    cycles = {kind: join_cycles(JoinAttrs("function", float32, (kind, 1.0, 0.5)), 1200) for kind in ("", *ACTIVATIONS)}
    assert all(cycles[kind] > cycles[""] for kind in ACTIVATIONS)
    assert cycles["scaled_tanh"] > cycles["tanh"]
    assert cycles["elu"] > cycles["leaky_relu"]


def test_a_step_is_timed_once_for_all_steps():
    short, long = (ipusim.simulate(layer("lstm", ("bias",), steps=n)[0]) for n in (150, 250))
    one = sum(s.cycles for s in short.steps if s.repeats == 150) // 150
    assert sum(s.cycles for s in long.steps if s.repeats == 250) == 250 * one
    assert len(short.steps) == len(long.steps)
