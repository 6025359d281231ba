"""The batch and other axes that a file leaves open."""

import numpy as np
import pytest
from onnx import helper
from onnx_models import model, saved

from ipusim.errors import BadInput, UnknownName
from ipusim.importers.onnx import load


def file(folder, **inputs):
    """A model that applies Relu to each input of the given shape."""
    nodes = [helper.make_node("Relu", [name], [f"{name}_out"]) for name in inputs]
    return saved(model(nodes, inputs, [n.output[0] for n in nodes]), folder)


def shapes(path, *args, **options):
    return [v.shape for v in load(path, *args, **options).inputs]


@pytest.mark.parametrize("first", ["N", None, 0, -1])
def test_an_open_batch_is_set(first, tmp_path):
    path = file(tmp_path, x=[first, 4])
    assert shapes(path) == [(1, 4)]
    assert shapes(path, batch=7) == [(7, 4)]
    assert [load(path).batch, load(path, batch=7).batch, load(path, np.int64(3)).batch] == [1, 7, 3]


def test_a_fixed_batch_is_kept(tmp_path):
    path = file(tmp_path, x=[3, 4], mask=[4, 4])
    assert [load(path).batch, load(path, batch=3).batch] == [3, 3]
    with pytest.raises(BadInput) as caught:
        load(path, batch=2)
    assert str(caught.value) == f"{path}: the batch of input 'x' is fixed at 3, not 2"


def test_inputs_of_fixed_size_stand_beside_an_open_batch(tmp_path):
    path = file(tmp_path, table=[10, 4], x=["N", 4], scalar=[])
    assert shapes(path, batch=5) == [(10, 4), (5, 4), ()]
    assert load(path, batch=5).batch == 5


def test_a_batch_of_none_of_the_inputs(tmp_path):
    path = file(tmp_path, scalar=[])
    assert load(path, batch=1).batch == 1
    with pytest.raises(BadInput, match="the batch of a model without inputs is fixed at 1, not 2"):
        load(path, batch=2)


@pytest.mark.parametrize("batch", [0, -1, True, 1.5, "two"])
def test_no_batch_at_all(batch, tmp_path):
    with pytest.raises(BadInput, match="batch must be a whole number of at least 1, not "):
        load(file(tmp_path, x=["N"]), batch=batch)


def test_the_symbol_of_the_batch_means_it_everywhere(tmp_path):
    path = file(tmp_path, x=["N", 4], y=[4, "N"])
    assert shapes(path, batch=3) == [(3, 4), (4, 3)]
    assert shapes(path, dims={"N": 3}) == [(3, 4), (4, 3)]
    assert load(path, dims={"N": 3}).batch == 3
    with pytest.raises(BadInput, match="dims gives 3 for the batch of input 'x', batch is 2"):
        load(path, batch=2, dims={"N": 3})


def test_a_symbol_that_also_stands_later_is_no_batch(tmp_path):
    path = file(tmp_path, mask=["length"], x=["N", "length"])
    assert shapes(path, batch=3, dims={"length": 5}) == [(5,), (3, 5)]
    assert load(path, batch=3, dims={"length": 5}).batch == 3
    with pytest.raises(BadInput, match=r"axis 0 of input 'mask' is open \(length\), axis 1 of input 'x' is open"):
        load(path)


def test_open_axes_are_given_by_symbol_or_place(tmp_path):
    path = file(tmp_path, x=["N", "length"], y=["length", None])
    assert shapes(path, dims={"length": 12, "y[1]": 5}) == [(1, 12), (12, 5)]
    with pytest.raises(BadInput) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: axis 1 of input 'x' is open (length), axis 0 of input 'y' is open (length), "
        "axis 1 of input 'y' is open (no symbol); "
        "fix in the file, or ipusim.importers.onnx.load(path, dims={'length': N, 'y[1]': N})"
    )


def test_dims_that_the_model_does_not_have(tmp_path):
    with pytest.raises(UnknownName, match=r"no open axis of .* named 'lenght'; did you mean 'length'"):
        load(file(tmp_path, x=["N", "length"]), dims={"lenght": 12})


@pytest.mark.parametrize("size", [0, -3, 2.0, True])
def test_dims_that_are_no_sizes(size, tmp_path):
    with pytest.raises(BadInput, match=r"dims\['length'\] must be a whole number of at least 1"):
        load(file(tmp_path, x=["N", "length"]), dims={"length": size})


def test_an_input_without_a_rank(tmp_path):
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(BadInput, match="input 'x' has no shape; give it one in the file"):
        load(saved(proto, tmp_path))
