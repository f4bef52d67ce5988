"""manifest.json to and from its records: hostile bytes are refused with what is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from anomaly_vae.bundle.manifest import FORMAT_VERSION, Manifest
from anomaly_vae.bundle.manifest_rules import rules
from anomaly_vae.bundle.strict_json import check_json
from anomaly_vae.errors import BundleError

__all__ = ["decode_manifest", "encode_manifest", "refuse_other_version"]

# Characters of a parser's message that an error shows. Chosen, not measured: hostile files can make it long.
_SHOWN_TEXT = 300


class _VersionOnly(Struct):
    format_version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Return indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Parse and check manifest.json.

    Raises:
        BundleError: The bytes are not JSON, have another format version, or a field is missing, unknown, of the wrong
            type or out of range.
    """
    refuse_other_version(data, where)
    with _parse_errors(where):
        manifest = msgspec.json.decode(data, type=Manifest)
    for holds, rule in rules(manifest):
        if not holds:
            raise BundleError(f"{where}: {rule}; the file was changed after export")
    return manifest


def refuse_other_version(data: bytes, where: str) -> None:
    """Raise BundleError if the manifest is not JSON, or has a format version that this release does not read."""
    with _parse_errors(where):
        check_json(data)
        version = msgspec.json.decode(data, type=_VersionOnly).format_version
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{where}: format version {version}, this release reads {FORMAT_VERSION}; "
            "upgrade anomaly_vae or train the model again"
        )


@contextlib.contextmanager
def _parse_errors(where: str) -> Iterator[None]:
    """Turn every error of a parser into BundleError."""
    try:
        yield
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        text = str(error)[:_SHOWN_TEXT]
        raise BundleError(f"{where}: not a manifest of a model bundle: {text}. Copy the folder again") from error
