"""The members of a bundle as networks that are ready to run."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.manifest import Architecture, MemberRecord
from anomaly_vae.bundle.members import open_members
from anomaly_vae.density.runtime import Slots
from anomaly_vae.errors import BundleError
from anomaly_vae.training.export import export_graphs
from tests.support.models import rows_of, schema_of, vae_of

NAMES = ("gaussian", "categorical", "conditional")


def untrained(*latent_dims):
    """Return the records and graphs of an ensemble of random networks."""
    records, graphs, vaes = [], {}, []
    for m, latent_dim in enumerate(latent_dims):
        vae = vae_of(*NAMES, latent_dim=latent_dim, seed=m)
        architecture = Architecture(latent_dim=latent_dim, hidden=(16,))
        records.append(MemberRecord(architecture=architecture, columns=tuple(vae.head.column_models())))
        graphs |= export_graphs(vae, m)
        vaes.append(vae)
    return records, graphs, vaes


def test_each_member_has_the_graphs_of_its_own_number():
    """The second member decodes with decoder-2.onnx: its output is that of its own torch network."""
    records, graphs, vaes = untrained(2, 3)
    members = open_members(schema_of(*NAMES), records, graphs)
    assert [member.latent_dim for member in members] == [2, 3]
    for member, vae, record in zip(members, vaes, records, strict=True):
        z = np.random.default_rng(0).normal(size=(4, member.latent_dim)).astype(np.float32)
        with_torch = vae.decoder(vae.decoder[0].weight.new_tensor(z)).detach().numpy()
        np.testing.assert_allclose(member.network.decode(z), with_torch, rtol=1e-4, atol=1e-4)
        assert member.features.layout.num_params == with_torch.shape[1]
        assert [member.features._models[j] for j in np.argsort(member.features.layout.order)] == list(record.columns)


def test_the_likelihood_of_a_member_is_that_of_its_columns():
    (record,), graphs, (vae,) = untrained(2)
    (member,) = open_members(schema_of(*NAMES), [record], graphs)
    inputs = member.features.encode(rows_of(5, *NAMES))
    params = np.random.default_rng(0).normal(size=(5, member.features.layout.num_params))
    x, mask = (vae.decoder[0].weight.new_tensor(values).double() for values in (inputs.x, inputs.mask))
    head = type(vae).in_float64(vae).head
    expected = (head.log_prob(x, x.new_tensor(params), mask) - head.base(x, mask)).detach().numpy()
    np.testing.assert_allclose(member.likelihood.log_prob(inputs.x, inputs.mask, params), expected, rtol=1e-6)


def test_a_graph_of_another_size_is_refused_by_its_name():
    """The manifest says 2 latents, the graphs have 3."""
    records, _, _ = untrained(2)
    _, graphs, _ = untrained(3)
    with pytest.raises(BundleError, match=r"encoder\.onnx: has inputs or outputs .*expected from the manifest"):
        open_members(schema_of(*NAMES), records, graphs)


def test_a_graph_that_cannot_be_loaded_is_refused_by_its_name():
    records, graphs, _ = untrained(2, 2)
    graphs["log_joint-2.onnx"] = b"not a graph"
    with pytest.raises(BundleError, match=r"log_joint-2\.onnx: onnxruntime cannot load it"):
        open_members(schema_of(*NAMES), records, graphs)


def test_all_members_share_the_slots():
    """The limit holds over all models: with no free slot, none of them may run."""
    records, graphs, _ = untrained(2, 2)
    slots = Slots(1)
    members = open_members(schema_of(*NAMES), records, graphs, slots)
    assert {member.network._slots for member in members} == {slots}
    assert slots._free == 1
