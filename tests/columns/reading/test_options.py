"""How text files are read: nothing is set unless the user says so."""

from __future__ import annotations

import dataclasses

import pytest

from anomaly_vae.columns.reading.options import ReadOptions


def test_options_are_found_in_the_file_unless_given():
    assert ReadOptions() == ReadOptions(separator=None, decimal=None, encoding=None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ReadOptions().decimal = ","
