"""What is trained, what is chosen, what is kept of a run that was cut off, and what a model must pass."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from anomaly_vae.config import TrainConfig
from anomaly_vae.errors import ConfigError, GateFailed
from anomaly_vae.kinds import infer_schema
from anomaly_vae.manifest import Gate
from anomaly_vae.scorer import Scorer
from anomaly_vae.training import checkpoint as checkpoints
from anomaly_vae.training import fitting, gates
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.criterion import criterion, shuffled_cells
from anomaly_vae.training.data import Batches, Data, hide_cells
from anomaly_vae.training.loop import Run
from anomaly_vae.training.objective import negative_elbo, trimmed
from anomaly_vae.training.pipeline import train_model
from anomaly_vae.training.search import candidates
from anomaly_vae.training.vae import ElboTerms
from tests.conftest import NAMES, make_rows

QUICK = TrainConfig(random_state=0, max_steps=100, search="off", target_fpr=0.05)


def resolved(**changes):
    schema = infer_schema(make_rows(100), NAMES)
    return fitting.resolved(TrainConfig(random_state=7, **changes), schema)


def differences(found):
    settings = [each.to_dict() for each in found]
    return {name for name in settings[0] if len({str(each[name]) for each in settings}) > 1}


def test_no_search_trains_one_model_and_the_default_two_likelihoods():
    (only,) = candidates(resolved(search="off"))
    assert only.likelihood == "student_t"
    both = candidates(resolved())
    assert [each.likelihood for each in both] == ["student_t", "logistic"]
    assert differences(both) == {"likelihood"}


def test_what_the_user_set_is_not_searched_over():
    assert len(candidates(resolved(likelihood="gaussian"))) == 1
    assert [each.decoder_variance for each in candidates(resolved(decoder_variance="conditional"))] == ["conditional"]
    assert all(each.likelihood == "count" for each in candidates(resolved(likelihood="count", search="full")))


def test_an_ensemble_without_search_differs_in_seeds_only():
    found = candidates(resolved(search="off", ensemble=4, likelihood="gaussian"))
    assert len(found) == 4
    assert differences(found) == {"random_state"}


def test_a_full_search_varies_sizes_variance_and_transform():
    found = candidates(resolved(search="full"))
    assert differences(found) == {"likelihood", "latent_dim", "decoder_variance", "column_transform"}
    assert len({str(each.to_dict()) for each in found}) == len(found)


def test_the_choice_and_the_runners_up_are_in_the_manifest():
    config = replace(QUICK, search="full", max_steps=60)
    manifest = train_model(make_rows(300), NAMES, config).bundle.manifest
    found = manifest.training.candidates
    assert len(found) == len(candidates(resolved(search="full")))
    chosen = [candidate for candidate in found if candidate.chosen]
    assert len(chosen) == len(manifest.members) == 2
    assert min(candidate.criterion for candidate in chosen) >= max(
        candidate.criterion for candidate in found if not candidate.chosen
    )


def test_the_criterion_prefers_a_model_that_knows_the_structure():
    """Cells of other rows keep every column's own distribution: only a model of how they go together tells them."""
    rows = make_rows(900)
    schema = infer_schema(rows, NAMES)
    config = fitting.resolved(TrainConfig(random_state=0, search="off", likelihood="gaussian", max_steps=300), schema)
    nowhere = Checkpoint(None, resume=False)
    good = fitting.fit_model(config, schema, rows[:600], rows[600:], nowhere)
    blind = fitting.fit_model(replace(config, beta=100.0), schema, rows[:600], rows[600:], nowhere)
    assert criterion(good, schema, rows[600:], 0) > criterion(blind, schema, rows[600:], 0) + 0.05
    assert criterion(good, schema, rows[600:], 0) == criterion(good, schema, rows[600:], 0)


def test_shuffled_cells_come_from_other_rows_of_the_same_column():
    rows = np.arange(60.0).reshape(20, 3)
    schema = infer_schema(rows, ("a", "b", "c"))
    changed = shuffled_cells(rows, schema, 0.3, np.random.default_rng(0))
    assert np.all((changed != rows).any(axis=1))
    for d in range(3):
        assert np.isin(changed[:, d], rows[:, d]).all()


class _Cut(Exception):
    pass


@pytest.mark.parametrize("cut_in", ["first", "second"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_end(tmp_path, monkeypatch, cut_in):
    """Killed in the middle of either model of the search: the same bits as without the cut."""
    monkeypatch.setattr(checkpoints, "_EVERY", 0.0)
    rows = make_rows(300)
    config = TrainConfig(random_state=5, max_steps=200, target_fpr=0.05)
    whole = train_model(rows, NAMES, config).bundle
    path = tmp_path / ".model.checkpoint"
    checks = {"first": 2, "second": 6}[cut_in]

    def report(_title, _progress):
        nonlocal checks
        if checks == 0:
            raise _Cut
        checks -= 1

    with pytest.raises(_Cut):
        train_model(rows, NAMES, config, checkpoint=Checkpoint(path, resume=False), report=report)
    assert path.exists()
    steps = []
    resumed = train_model(
        rows,
        NAMES,
        config,
        checkpoint=Checkpoint(path, resume=True),
        report=lambda title, progress: steps.append((title, progress.step)),
    ).bundle
    assert steps[0] == (("model 1 of 2", 150) if cut_in == "first" else ("model 2 of 2", 150))
    assert resumed.files == whole.files


def test_a_checkpoint_of_other_rows_or_parameters_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_EVERY", 0.0)
    path = tmp_path / ".model.checkpoint"

    def stop(_title, progress):
        if progress.step == 100:
            raise _Cut

    config = replace(QUICK, max_steps=200)
    with pytest.raises(_Cut):
        train_model(make_rows(200), NAMES, config, checkpoint=Checkpoint(path, resume=False), report=stop)
    for rows, other in ((make_rows(200, seed=1), config), (make_rows(200), replace(config, beta=0.5))):
        with pytest.raises(ConfigError, match="of other rows or parameters"):
            train_model(rows, NAMES, other, checkpoint=Checkpoint(path, resume=True))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        Checkpoint(path, resume=True)


def test_a_checkpoint_never_runs_code(tmp_path):
    """It lies beside the user's files: a pickle with a call in it must be refused, not run."""

    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / ".model.checkpoint"
    torch.save({"fingerprint": Hostile()}, path)
    with pytest.raises(ConfigError, match="not a checkpoint"):
        Checkpoint(path, resume=True)
    assert not (tmp_path / "ran").exists()


def terms_of(log_likelihood, kl_by_dim):
    kl_by_dim = torch.tensor(kl_by_dim)
    return ElboTerms(torch.tensor(log_likelihood), kl_by_dim.sum(-1), kl_by_dim)


def test_free_bits_cost_nothing_to_use():
    """A dimension below its free bits costs as much as one that has them; above, it costs what it is."""
    terms = terms_of([-3.0, -5.0], [[0.1, 2.0], [0.3, 4.0]])
    assert float(negative_elbo(terms, 1.0)) == pytest.approx(4.0 + 3.2)
    assert float(negative_elbo(terms, 1.0, free_bits=0.5)) == pytest.approx(4.0 + 0.5 + 3.0)
    assert float(negative_elbo(terms, 0.5, free_bits=0.5)) == pytest.approx(4.0 + 0.25 + 1.5)


def test_free_bits_keep_a_latent_dimension_alive():
    rows = make_rows(600)
    schema = infer_schema(rows, NAMES)
    config = fitting.resolved(
        TrainConfig(random_state=0, search="off", likelihood="gaussian", max_steps=200, beta=30.0), schema
    )
    nowhere = Checkpoint(None, resume=False)
    without, with_bits = (
        fitting.fit_model(replace(config, free_bits=bits), schema, rows[:500], rows[500:], nowhere)
        for bits in (0.0, 0.3)
    )
    assert without.result.held_out.kl < 0.05
    assert with_bits.result.held_out.kl > 0.15


def test_trimming_drops_the_least_likely_rows():
    terms = trimmed(terms_of([-1.0, -9.0, -2.0, -3.0], [[0.0], [0.0], [0.0], [0.5]]), 0.25)
    assert sorted(terms.log_likelihood.tolist()) == [-3.0, -2.0, -1.0]
    assert len(terms.kl) == len(terms.kl_by_dim) == 3
    assert trimmed(terms, 0.0) is terms


def test_trimming_finds_anomalies_that_were_trained_on():
    """Eight per cent of the training rows are anomalies of one kind, which an untrimmed model learns."""
    rng = np.random.default_rng(0)
    normal = make_rows(1200)
    odd = make_rows(100, seed=9)
    odd[:, 0], odd[:, 3] = 1.2e5 + 100 * rng.normal(size=100), 60 + rng.normal(size=100)
    rows = np.concatenate([normal, odd])[rng.permutation(1300)]
    found = {}
    for fraction in (0.0, 0.15):
        config = replace(QUICK, max_steps=400, trim_fraction=fraction, likelihood="gaussian", target_fpr=0.1)
        scorer = Scorer(train_model(rows, NAMES, config).bundle)
        new = make_rows(100, seed=10)
        new[:, 0], new[:, 3] = 1.2e5 + 100 * rng.normal(size=100), 60 + rng.normal(size=100)
        found[fraction] = np.median(scorer.score(new).log_px) - np.median(scorer.score(make_rows(100, seed=11)).log_px)
    assert found[0.15] < found[0.0] - 20.0


def test_hidden_cells_are_whole_columns_at_rates_from_none_to_most():
    """A category's features go together; values there are zeros, as the encoder will see missing cells."""
    x = torch.ones(20000, 4)
    hidden = hide_cells(Data(x, torch.ones_like(x)), torch.tensor([0, 1, 1, 1]), torch.Generator().manual_seed(0))
    assert torch.equal(hidden.x, hidden.mask)
    assert torch.equal(hidden.mask[:, 1], hidden.mask[:, 3])
    assert float(hidden.mask.mean()) == pytest.approx(0.6, abs=0.01)


def test_masked_steps_teach_the_encoder_only():
    rows = make_rows(300)
    schema = infer_schema(rows, NAMES)
    config = fitting.resolved(replace(QUICK, masking=1.0, max_steps=50), schema)
    fitted = fitting.fit_model(config, schema, rows[:250], rows[250:], Checkpoint(None, resume=False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = type(fitted.vae)(fitted.vae.head.columns, *fitting.sizes(config))
    for name, parameter in fresh.named_parameters():
        same = torch.equal(parameter, dict(fitted.vae.named_parameters())[name])
        assert same == (not name.startswith("encoder"))


def test_batches_visit_every_row_once_a_pass():
    data = Data(torch.arange(600.0)[:, None], torch.ones(600, 1))
    batches = Batches(data, torch.Generator().manual_seed(0))
    seen = torch.cat([batches.next().x[:, 0] for _ in range(75)])[: 600 * 32]
    assert all(torch.equal(part.sort().values, torch.arange(600.0)) for part in seen.split(600))


def named(bundle):
    return {gate.name: gate for gate in bundle.manifest.training.gates}


def test_a_sound_model_passes_its_gates(trained):
    assert all(gate.passed is not False for gate in trained.bundle.manifest.training.gates)
    gates.refuse_failed(trained.bundle.manifest.training.gates)


def test_a_collapsed_posterior_fails_its_gate():
    """With a huge beta the KL is driven to nothing although the columns hang together."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 1)) * [1.0, 2.0, -1.0, 0.5] + 0.3 * rng.normal(size=(600, 4))
    bundle = train_model(rows, tuple("abcd"), replace(QUICK, beta=1000.0, max_steps=150, kl_warmup=0.0)).bundle
    gate = named(bundle)["posterior collapse"]
    assert gate.passed is False
    assert "ignores z" in gate.detail
    with pytest.raises(GateFailed, match=r"posterior collapse: .*--force"):
        gates.refuse_failed(bundle.manifest.training.gates)


def test_columns_without_structure_may_have_no_posterior():
    """Independent columns leave nothing for z to tell: that is no collapse."""
    rows = np.random.default_rng(0).normal(size=(800, 4))
    config = replace(QUICK, beta=1000.0, max_steps=150, kl_warmup=0.0, likelihood="gaussian")
    assert named(train_model(rows, tuple("abcd"), config).bundle)["posterior collapse"].passed is None


def test_structure_is_seen_among_gaps_and_categories_and_not_where_there_is_none():
    """Over the rows that have both columns; a category's own features do not count."""
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=600).astype(float)
    linked = np.column_stack([group, group * 2.0 + rng.normal(size=600)])
    apart = np.column_stack([rng.permutation(group), linked[:, 1]])
    for rows, expected in ((linked, True), (apart, False)):
        gaps = np.where(rng.random(rows.shape) < 0.4, np.nan, rows)
        schema = infer_schema(gaps, ("a", "b"), categories={"a": ("x", "y", "z")})
        columns = fitting.plan_columns(schema, gaps, fitting.resolved(QUICK, schema))
        assert gates.has_structure(fitting.Features(schema, columns), gaps) is expected


def test_columns_that_copy_each_other_fail_the_gate_of_the_floors():
    """The end of a long training on such columns, without the training: variances that went as low as they can."""
    rows = make_rows(300)
    schema = infer_schema(rows, NAMES)
    config = fitting.resolved(replace(QUICK, likelihood="gaussian", max_steps=50), schema)
    model = fitting.fit_model(config, schema, rows[:250], rows[250:], Checkpoint(None, resume=False))
    assert gates.variance_floors([model]).passed
    with torch.no_grad():
        model.vae.head.parts[0].raw_log_var[:3] = -20.0
    gate = gates.variance_floors([model])
    assert gate.passed is False
    assert "exclude copies" in gate.detail


def test_a_large_gap_between_elbo_and_log_p_fails_its_gate(trained):
    model, estimates = trained.members, Scorer(trained.bundle)._estimator.estimate(make_rows(40), 64)
    assert gates.importance_gap(model, estimates).passed
    gate = gates.importance_gap(model, estimates._replace(elbo=estimates.elbo - 20.0))
    assert gate.passed is False
    assert "exceeds the ELBO by 2" in gate.detail


def test_a_model_worse_than_a_linear_one_fails_its_gate():
    """Stopped after a few steps it knows less than a factor analysis of the same rows."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 2)) @ rng.normal(size=(2, 8)) + 0.1 * rng.normal(size=(1500, 8))
    names = tuple("abcdefgh")
    config = replace(QUICK, max_steps=10, likelihood="gaussian")
    gate = named(train_model(rows, names, config).bundle)["as good as a linear model"]
    assert gate.passed is False
    assert "train longer" in gate.detail


def test_false_positives_beyond_their_law_fail_the_gate():
    """Scores that drift: the second of each pair lies below the first, so its fold is no sample of the same law."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=2000)
    assert gates.false_positives(scores).passed
    drifting = scores.copy()
    drifting[1::2] -= 1.0
    assert gates.false_positives(drifting).passed is False
    assert gates.false_positives(scores[:10]).passed is None


def test_all_failed_gates_are_named():
    found = (
        Gate(name="one", passed=False, detail="a"),
        Gate(name="two", passed=True, detail="b"),
        Gate(name="three", passed=None, detail="c"),
        Gate(name="four", passed=False, detail="d"),
    )
    with pytest.raises(GateFailed, match=r"^one: a; four: d\. Look"):
        gates.refuse_failed(found)


def test_a_run_s_state_is_complete():
    """Restored in another run object, every further step is the same."""
    rows = make_rows(300)
    schema = infer_schema(rows, NAMES)
    config = fitting.resolved(replace(QUICK, max_steps=150), schema)
    columns = fitting.plan_columns(schema, rows, config)
    features = fitting.Features(schema, columns)
    data = fitting.load(features, rows, torch.device("cpu"))

    def run():
        torch.manual_seed(1)
        vae = fitting.VAE(columns, *fitting.sizes(config))
        return vae, Run(vae, data, data, config, torch.Generator().manual_seed(2))

    states = []
    vae, first = run()
    result = first.finish(on_check=lambda: states.append(first.state()))
    other, second = run()
    second.restore(states[0])
    again = second.finish()
    assert (again.steps, again.best_step, again.held_out) == (result.steps, result.best_step, result.held_out)
    assert math.isfinite(result.held_out.elbo)
    for one, two in zip(vae.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
