"""What holds for every likelihood head.

It is in every registry: manifest, layout, numpy, torch, ONNX, options and the tests' examples. Its slope is the
derivative of its value. numpy, torch and ONNX compute the same. tests/columns/heads tests the distribution of each.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.columns.heads import HEADS, ColumnModel, HeadRecord
from anomaly_vae.columns.layout import Layout
from anomaly_vae.columns.likelihood import TableLikelihood
from anomaly_vae.density import tiles
from anomaly_vae.density.precision import Precision
from anomaly_vae.training.config import LIKELIHOODS
from anomaly_vae.training.decoder_graph import RowParams, SampleParams, shared_params
from anomaly_vae.training.export import export_graphs
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads import STD_FLOOR, TORCH_HEADS, ColumnData, TorchHead
from anomaly_vae.training.torch_heads.table import column_std_floor
from tests.support.graphs import run_graph
from tests.support.models import ALL, COLUMNS, estimator_of, features_of, member_of, rows_of, vae_of

# Examples by the kind of their head: three columns of tests.support.models are Gaussian.
EXAMPLES = {model.head.kind(): name for name, (_, model) in reversed(COLUMNS.items())}
KINDS = sorted(HEADS.keys() | TORCH_HEADS.keys() | EXAMPLES.keys())


def overrides(cls, base, name):
    return getattr(cls, name) is not getattr(base, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_in_every_registry(kind):
    assert kind in HEADS, "add it to the union Head in anomaly_vae/columns/heads/__init__.py"
    assert kind in TORCH_HEADS, "add it to TORCH_HEADS in anomaly_vae/training/torch_heads/__init__.py"
    assert kind in EXAMPLES, "add an example to COLUMNS in tests/support/models.py"
    assert kind == HEADS[kind].kind()


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_goes_through_the_manifest(kind):
    _, model = COLUMNS[EXAMPLES[kind]]
    data = msgspec.json.encode(model)
    assert msgspec.json.decode(data, type=ColumnModel) == model
    assert msgspec.json.decode(data)["head"]["kind"] == kind
    assert (model.transform is not None) == model.head.takes_transform
    assert model.head.summary.startswith(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_has_a_layout_and_a_density_in_numpy(kind):
    """Two columns of it: shapes of features, parameters, value, slope, curvature and drawn values."""
    name = EXAMPLES[kind]
    layout = Layout([COLUMNS[name][1]] * 2)
    (block,) = layout.blocks
    assert block.kind == kind
    assert layout.num_features == sum(block.sizes) == 2 * block.heads[0].num_features
    assert layout.num_params == layout.num_features * HEADS[kind].params_per_feature
    likelihood = HEADS[kind].likelihood(block.heads)
    x, mask = features_of(name, name).encode(rows_of(5, name, name))[:2]
    params = np.random.default_rng(0).normal(size=(5, layout.num_params))
    assert likelihood.log_prob(x, mask, params).shape == (5,)
    assert likelihood.slope(x, mask, params).shape == likelihood.information(x, mask, params).shape == params.shape
    assert likelihood.draw(params, np.random.default_rng(0)).shape == (5, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_trains_and_exports(kind):
    """It has a loss, a start, a record of what was learned, and a graph that the reader of bundles accepts."""
    head_class, name = TORCH_HEADS[kind], EXAMPLES[kind]
    assert all(overrides(head_class, TorchHead, method) for method in ("initial", "forward", "onnx_log_prob"))
    assert overrides(head_class, TorchHead, "base") == overrides(HEADS[kind], HeadRecord, "base")
    assert HEADS[kind].has_base == overrides(HEADS[kind], HeadRecord, "base")
    vae = vae_of(name)
    x, mask = (torch.as_tensor(values).float() for values in features_of(name).encode(rows_of(50, name))[:2])
    assert vae.head.start(x, mask).shape == (vae.head.layout.num_params,)
    assert [column.head.kind() for column in vae.head.column_models()] == [kind]
    assert column_std_floor(vae.head.columns[0]) >= STD_FLOOR
    for file, data in export_graphs(vae).items():
        check_graph(data, file)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_has_values_to_start_training_from(kind):
    column, model = COLUMNS[EXAMPLES[kind]]
    values = rows_of(50, EXAMPLES[kind])[:, 0]
    head = TORCH_HEADS[kind].initial(ColumnData(column, values, model.transform, "learned"))
    assert type(head) is HEADS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_options_offer_a_head_that_can_be_chosen(kind):
    assert (kind in LIKELIHOODS) == HEADS[kind].selectable


@pytest.mark.parametrize("name", ALL)
def test_the_slope_is_the_derivative(name):
    features = features_of(name)
    likelihood = TableLikelihood(features.layout)
    inputs = features.encode(rows_of(20, name))
    params = np.random.default_rng(1).normal(size=(20, features.layout.num_params))
    slope = likelihood.slope(inputs.x, inputs.mask, params)
    for p in range(params.shape[1]):
        nudge = 1e-6 * np.eye(params.shape[1])[p]
        up, down = (likelihood.log_prob(inputs.x, inputs.mask, params + sign * nudge) for sign in (1.0, -1.0))
        np.testing.assert_allclose(slope[:, p], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (16,), (16, 16)])
@pytest.mark.parametrize("names", [*((name,) for name in ALL), ALL])
def test_onnx_torch_and_numpy_agree_on_log_p_of_x_and_z(names, hidden):
    """Three implementations of one formula, with missing cells; float32 against float64."""
    vae = vae_of(*names, hidden=hidden)
    features = features_of(*names, vae=vae)
    member = member_of(vae, features)
    rows = rows_of(16, *names)
    rows[np.random.default_rng(3).random(rows.shape) < 0.2] = np.nan
    inputs = features.encode(rows)
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    loc, log_var = member.network.encode(x, mask)
    scale = np.exp(0.5 * log_var)
    noise = np.random.default_rng(4).normal(size=(32, vae.latent_dim)).astype(np.float32)
    got = member.network.log_joint(x, mask, loc[:, None] + scale[:, None] * noise)

    double = type(vae).in_float64(vae)
    tensors = [torch.as_tensor(np.asarray(values, dtype=np.float64)) for values in (x, mask, loc, scale, noise)]
    with torch.no_grad():
        wanted = double.log_joint(*tensors).numpy()
        z = tensors[2][:, None, :] + tensors[3][:, None, :] * tensors[4]
        params = double.decoder(z).numpy()
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-4)
    prior = -0.5 * (np.log(2.0 * np.pi) + z.numpy() ** 2).sum(-1)
    numpy = member.likelihood.log_prob(inputs.x[:, None, :], inputs.mask[:, None, :], params) + prior
    np.testing.assert_allclose(numpy, wanted, rtol=1e-6, atol=1e-6)
    decoded = member.network.decode(z.numpy().reshape(-1, vae.latent_dim)[:64].astype(np.float32))
    np.testing.assert_allclose(decoded, params.reshape(-1, params.shape[-1])[:64], rtol=1e-3, atol=1e-4)

    given = params[0].astype(np.float32)  # 32 parameter vectors, for all pairs with the 16 rows
    pairs = member.likelihood.log_prob(inputs.x[:, None, :], inputs.mask[:, None, :], given.astype(np.float64)[None])
    np.testing.assert_allclose(member.network.likelihood(x, mask, given), pairs, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("names", [*((name,) * 2 for name in ALL), ALL], ids="-".join)
def test_a_head_has_the_density_of_torch_wherever_the_axes_of_its_parameters_are(names):
    """One sample of each row, samples that all rows share, or those of each row; with missing cells."""
    head, features = vae_of(*names).head.double(), features_of(*names)
    inputs = features.encode(rows_of(7, *names))
    rng = np.random.default_rng(0)
    x, mask = inputs.x, inputs.mask * (rng.random(inputs.mask.shape) < 0.8)
    params = rng.normal(size=(7, 5, head.layout.num_params))
    given = {
        "x": x, "mask": mask, "params": params[:, 0], "shared": params[0], "products": np.swapaxes(params, 1, 2)
    }  # fmt: skip
    graph, blocks = Graph(), head.layout.blocks
    parts = tuple(graph.split(name, [block.num_features for block in blocks]) for name in ("x", "mask"))
    bias = rng.normal(size=head.layout.num_params)
    for made, wanted in (
        (RowParams(graph, blocks, "params"), params[:, :1]),
        (shared_params(graph, blocks, "shared"), params[:1]),
        (SampleParams(graph, blocks, "products"), params),
        (SampleParams(graph, blocks, "products", bias), params + bias),
    ):
        terms = [part.onnx_log_prob(graph, made, *each) for (_, part), *each in zip(head.pairs(), *parts, strict=True)]
        got = np.sum([run_graph(graph, term, **given) for term in terms], axis=0)
        tensors = [torch.as_tensor(values) for values in (x[:, None], wanted, mask[:, None])]
        with torch.no_grad():
            expected = (head.log_prob(*tensors) - head.base(tensors[0], tensors[2])).numpy()
        assert got.shape == (7, wanted.shape[1])
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-4)


def test_the_score_of_a_row_does_not_depend_on_the_other_rows():
    """Softplus, exp and log run over whole tiles: their bits must not depend on the position of a row in its tile."""
    vae = vae_of(*ALL, latent_dim=3, hidden=(32, 32), wild=1.0)
    one, two = (estimator_of(vae, features_of(*ALL, vae=vae), threads=threads) for threads in (1, 2))
    rows = rows_of(70, *ALL)
    rows[np.random.default_rng(1).random(rows.shape) < 0.1] = np.nan
    precision = Precision(target_error=0.02, num_samples=1024)  # rows of every phase
    whole = one.estimate(rows, precision)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows))
    for part in ([13], [5, 6], order[:17], order):
        for estimator in (one, two):
            found = estimator.estimate(rows[part], precision)
            for values, expected_values in zip(found, whole, strict=True):
                np.testing.assert_array_equal(values, expected_values[part])


@pytest.mark.parametrize("names", [*((name,) for name in ALL), ALL])
def test_the_posterior_of_a_row_does_not_depend_on_the_other_rows(names):
    """The graph has one value per row in some operations, so a vector instruction spans several rows.

    A last part of a vector is computed by other instructions, with other bits.
    """
    vae = vae_of(*names, latent_dim=2, hidden=(32, 32), wild=1.0)
    features = features_of(*names, vae=vae)
    network = member_of(vae, features).network
    inputs = features.encode(rows_of(128, *names))
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    z = np.random.default_rng(0).normal(size=(128, 2)).astype(np.float32)
    whole = tiles.posterior(network, x, mask, z)
    for size in range(1, 31):
        for start in range(0, 128 - size, size):
            rows = slice(start, start + size)
            for found, expected in zip(tiles.posterior(network, x[rows], mask[rows], z[rows]), whole, strict=True):
                np.testing.assert_array_equal(found, expected[rows])
