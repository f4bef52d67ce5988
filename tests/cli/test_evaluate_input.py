"""Labelled rows as each kind of model needs them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from anomaly_vae.cli.evaluate_input import labelled_rows
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError
from tests.support.assessed import PlainImages
from tests.support.shaped_scorers import image_schema

PICTURES = SimpleNamespace(schema=image_schema(ImageShape(height=2, width=2)))
TABLE = SimpleNamespace(schema=SimpleNamespace(kind="table"))


class Given:
    """An INPUT of images."""

    def __init__(self, count):
        self._count = count

    def images(self, _schema):
        return PlainImages(self._count)


def read(scorer, anomalies, label=None, by=()):
    return labelled_rows(scorer, Given(3), anomalies, label=label, by=by, quiet=True)


def test_images_are_labelled_by_where_they_are():
    rows, label = read(PICTURES, Given(2))
    assert (rows.labels.tolist(), label) == ([False, False, False, True, True], None)


@pytest.mark.parametrize(
    ("scorer", "options", "words"),
    [
        (PICTURES, {"anomalies": None}, "give --anomalies IMAGES"),
        (PICTURES, {"anomalies": Given(1), "label": "y"}, "--label is for tables"),
        (PICTURES, {"anomalies": Given(1), "by": ["y"]}, "--by is for tables"),
        (TABLE, {"anomalies": Given(1)}, "--anomalies is for a model of images"),
    ],
)
def test_options_of_another_kind_of_model_are_refused(scorer, options, words):
    with pytest.raises(ConfigError, match=words):
        read(scorer, **options)
