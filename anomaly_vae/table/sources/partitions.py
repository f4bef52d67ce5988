"""Leave out files of a data set whose partition keys say that they hold no row of a filter, without opening them."""

from __future__ import annotations

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.table.filtering.source import may_hold_rows
from anomaly_vae.table.filtering.tree import Node, checks_of
from anomaly_vae.table.sources.discovery import Found, partition_keys
from anomaly_vae.table.sources.files import open_file
from anomaly_vae.table.sources.json_lines import JsonLinesSource

__all__ = ["with_possible_files"]


def with_possible_files(found: Found, options: ReadOptions, node: Node) -> Found:
    """Return the files that may hold rows of a filter; at least one, which says what columns there are.

    One file is opened, since a key is none if the files have a column of its name. Files of JSON lines may differ in
    their columns, so all of them stay.
    """
    keys = [partition_keys(file.relative_to(found.root)) for file in found.files]
    tested = {test.name for test in checks_of(node)}
    if not any(tested & set(each) for each in keys):
        return found
    source = open_file(found.files[0], str(found.files[0]), options)
    source.close()
    if isinstance(source, JsonLinesSource):
        return found
    files = [file for file, each in zip(found.files, keys, strict=True) if may_hold_rows(node, each, source.names)]
    return found._replace(files=files or found.files[:1])
