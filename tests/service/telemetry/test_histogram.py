"""Histograms, checked by arithmetic."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from anomaly_vae.service.telemetry.histogram import Histogram


class TestHistogram:
    def exposed(self, values, bounds=(-1.0, 0.0, 2.5)):
        registry = CollectorRegistry()
        series = Histogram("h", "help", registry, ("version",)).add_series(bounds, ("1",))
        for part in values:
            series.observe(np.array(part, dtype=float))
        return registry

    def test_buckets_are_cumulative_and_end_at_their_bound(self):
        registry = self.exposed([[-5.0, -1.0, -0.5], [0.0, 2.5, 2.6, 1e9]])
        counts = {
            le: registry.get_sample_value("h_bucket", {"version": "1", "le": le})
            for le in ("-1.0", "0.0", "2.5", "+Inf")
        }
        assert counts == {"-1.0": 2, "0.0": 4, "2.5": 5, "+Inf": 7}
        assert registry.get_sample_value("h_count", {"version": "1"}) == 7
        assert registry.get_sample_value("h_sum", {"version": "1"}) == pytest.approx(1e9 + 2.5 + 2.6 - 6.5)

    def test_nothing_observed_is_a_series_at_zero(self):
        assert self.exposed([]).get_sample_value("h_count", {"version": "1"}) == 0
        assert self.exposed([[]]).get_sample_value("h_sum", {"version": "1"}) == 0

    def test_one_value_counts_as_an_array_of_one(self):
        registry = CollectorRegistry()
        one, many = (Histogram(name, "help", registry).add_series((-1.0, 0.0, 2.5)) for name in "ab")
        for value in (-5.0, -1.0, -0.5, 0.0, 2.5, 2.6, 1e9):
            one.observe_one(value)
            many.observe(np.array([value]))
        assert one.read() == many.read()

    def test_series_have_buckets_of_their_own(self):
        registry = self.exposed([[1.0]])
        text = generate_latest(registry).decode()
        assert text.count("h_bucket") == 4
