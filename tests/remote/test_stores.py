"""From an address to the store that reads it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from anomaly_vae.remote.address import parse_address
from anomaly_vae.remote.objects import ObjectFolder
from anomaly_vae.remote.stores import open_store
from anomaly_vae.remote.web import WebFolder


@pytest.mark.parametrize(
    ("url", "kind"),
    [("s3://a", ObjectFolder), ("gs://a", ObjectFolder), ("az://a", ObjectFolder), ("https://a", WebFolder)],
)
def test_each_scheme_has_its_store(url, kind):
    assert type(open_store(parse_address(url))) is kind


def test_pyarrow_is_imported_when_a_bucket_is_read_and_not_before():
    """Services of local folders start without it, and so without the time and the memory that it takes."""
    code = (
        "import sys; from anomaly_vae.remote.sources import source_of; import tempfile, pathlib; "
        "source_of('s3://a', cache_dir=pathlib.Path(tempfile.mkdtemp())); "
        "print([m for m in ('pyarrow', 'cryptography', 'model_signing') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
