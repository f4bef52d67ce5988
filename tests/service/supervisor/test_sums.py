"""Sums of counters and histograms."""

from bisect import bisect_left

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from anomaly_vae.service.supervisor.snapshot import Family, Sample, from_json, take_snapshot
from anomaly_vae.service.supervisor.sums import is_summed, lost_sums, samples_of, sums_of
from anomaly_vae.service.telemetry.histogram import Histogram


def histogram(bounds, values, label="1"):
    """Return a histogram as a process sends it."""
    registry = CollectorRegistry()
    Histogram("px", "Scores.", registry, ("version",)).add_series(bounds, (label,)).observe(np.asarray(values))
    return from_json(take_snapshot(registry))[0]


def added(*families):
    sums = {}
    for family in families:
        for key, value in sums_of(family).items():
            sums[key] = sums.get(key, 0.0) + value
    return samples_of(sums)


def buckets(samples):
    return [(dict(s.labels)["le"], s.value) for s in samples if s.name.endswith("_bucket")]


def test_one_histogram_stays_what_it_is():
    family = histogram([-2.0, 0.5, 3.0], [-5.0, -1.0, 0.0, 9.0])
    assert tuple(samples_of(sums_of(family))) == family.samples


def test_with_equal_buckets_the_sum_is_the_histogram_of_all_values():
    rng = np.random.default_rng(1)
    bounds, first, second = [-1.0, 0.0, 1.0], rng.integers(-3, 4, 50) / 2, rng.integers(-3, 4, 70) / 2
    whole = histogram(bounds, [*first, *second])
    assert added(histogram(bounds, first), histogram(bounds, second)) == list(whole.samples)


def test_with_different_buckets_no_value_counts_twice_or_too_early():
    rng = np.random.default_rng(2)
    parts = [(np.sort(rng.normal(size=5)).tolist(), rng.normal(size=100)) for _ in range(3)]
    samples = added(*(histogram(bounds, values) for bounds, values in parts))
    found = buckets(samples)
    assert [float(bound) for bound, _ in found] == sorted({b for bounds, _ in parts for b in [*bounds, np.inf]})
    assert [value for _, value in found] == sorted(value for _, value in found)
    for bound, value in found[:-1]:
        # Of each histogram, the values up to its last bound that is at most this one.
        known = [max([b for b in bounds if b <= float(bound)], default=-np.inf) for bounds, _ in parts]
        assert value == sum((values <= last).sum() for (_, values), last in zip(parts, known, strict=True))
    assert found[-1] == ("+Inf", 300)
    assert {s.name: s.value for s in samples[-2:]} == {
        "px_count": 300,
        "px_sum": pytest.approx(sum(values.sum() for _, values in parts)),
    }
    assert bisect_left([1.0], 1.0) == 0  # a bucket includes its bound, as assumed above


def test_series_of_different_labels_stay_apart():
    samples = added(histogram([0.0], [1.0], "1"), histogram([5.0], [1.0], "2"))
    assert buckets(samples) == [("0.0", 0), ("+Inf", 1), ("5.0", 1), ("+Inf", 1)]


@pytest.mark.parametrize(
    ("name", "kind", "summed"),
    [
        ("anomaly_vae_rows", "counter", True),
        ("anomaly_vae_p_value", "histogram", True),
        ("anomaly_vae_queue_rows", "gauge", False),
        ("process_cpu_seconds", "counter", False),
    ],
)
def test_counters_and_histograms_are_summed_but_not_those_of_a_process(name, kind, summed):
    assert is_summed(Family(name, kind, "", (Sample(name, (), 1.0),))) is summed


def test_a_series_is_lost_as_a_whole_and_not_because_its_sum_falls():
    """Values may be negative. A new bundle has other buckets under the same labels."""
    label = (("model_version", "1"),)

    def series(counts, total):
        return {
            **{("nats_bucket", (*label, ("le", bound))): count for bound, count in counts.items()},
            ("nats_count", label): sum(counts.values()),
            ("nats_sum", label): total,
        }

    before = series({"-1.0": 3.0, "+Inf": 0.0}, -9.0)
    assert lost_sums(before, series({"-1.0": 4.0, "+Inf": 0.0}, -12.0)) == {}
    assert lost_sums(before, series({"-2.0": 9.0, "+Inf": 9.0}, -50.0)) == before
    assert lost_sums(before, series({"-1.0": 1.0, "+Inf": 5.0}, 1.0)) == before
    assert lost_sums(before, {}) == before
