"""URLs of tables, taken apart."""

from __future__ import annotations

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.table.stores.places import ObjectPath, place_of

_SETTINGS = "endpoint_override=127.0.0.1:1&scheme=http"


@pytest.mark.parametrize(
    ("url", "key", "is_folder", "where"),
    [
        (f"s3://box/a/b.csv?{_SETTINGS}", "box/a/b.csv", False, "s3://box/a/b.csv"),
        (f"s3://box/a/?{_SETTINGS}", "box/a", True, "s3://box/a/"),
        (f"s3://box?{_SETTINGS}", "box", True, "s3://box/"),
        (f"s3://box/a/*/[ab]*.csv?{_SETTINGS}", "box/a/*/[ab]*.csv", False, "s3://box/a/*/[ab]*.csv"),
        (f"s3://anonymous@box/k=a%2Fb/x.csv?{_SETTINGS}", "box/k=a%2Fb/x.csv", False, "s3://box/k=a%2Fb/x.csv"),
    ],
)
def test_files_folders_and_patterns(url, key, is_folder, where):
    place = place_of(url)
    assert (place.path.key, place.is_folder, place.where) == (key, is_folder, where)
    assert type(place.path.system).__name__ == "S3FileSystem"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (f"gs://anonymous@box/a/*.csv?{_SETTINGS}", "GcsFileSystem"),
        (f"az://account@box/a/*.csv?{_SETTINGS}", "AzureFileSystem"),
    ],
)
def test_other_clouds_get_their_own_file_system(url, kind):
    place = place_of(url)
    assert type(place.path.system).__name__ == kind
    assert place.path.key == "box/a/*.csv"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://box/a?.csv", r"s3://box/a: '.csv' is no option of s3://; there are: .*begin after \?"),
        ("https://example.org/t.csv", "tables are not read from https://; expected s3://BUCKET/PATH, gs:"),
        ("ftp://example.org/t.csv", "tables are not read from ftp://"),
        ("s3://key:secret@box/t.csv", "no user names and secrets in a URL"),
        ("s3://box/a#b.csv", "a URL of tables has no part after #"),
    ],
)
def test_other_urls_are_refused(url, message):
    with pytest.raises(ConfigError, match=message) as caught:
        place_of(url)
    assert "secret@" not in str(caught.value)


def test_names_below_a_folder():
    folder = ObjectPath(None, "s3", "box/a")
    path = folder / "k=1/b.csv"
    assert (str(path), path.name, path.relative_to(folder).as_posix()) == ("s3://box/a/k=1/b.csv", "b.csv", "k=1/b.csv")
