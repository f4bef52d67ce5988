"""Every kind of data has all that the command needs."""

from __future__ import annotations

import pytest

from anomaly_vae.cli.image_training import ImageJob
from anomaly_vae.cli.series_training import SeriesJob
from anomaly_vae.cli.table_training import TableJob
from anomaly_vae.cli.training_job import TrainingJob


@pytest.mark.parametrize("kind", [TableJob, SeriesJob, ImageJob])
def test_a_job_has_the_methods_of_the_protocol(kind):
    names = {name for name in vars(TrainingJob) if not name.startswith("_") and callable(getattr(TrainingJob, name))}
    assert names == {"train", "quality", "lines", "facts"}
    assert all(callable(getattr(kind, name, None)) for name in names)
