"""The audit log: one line for each change of the served models, whatever the level of the log."""

from __future__ import annotations

import logging

from anomaly_vae.service.telemetry.logs import event

__all__ = ["audit"]

_LOG = logging.getLogger("anomaly_vae.audit")
_LOG.setLevel(logging.INFO)


def audit(
    change: str, name: str, version: str = "", *, by: str, digest: str = "", before: str = "", why: str = ""
) -> None:
    """Log a change of a model.

    Args:
        change: loaded, refused, removed, default, unloaded.
        name, version: The model.
        by: Who or what has changed it: start, poll, signal, or the name of a caller.
        digest: The digest of its bundle.
        before: The digest of the bundle that had the version before; for default, the version that was it before.
        why: Why it is refused or removed.
    """
    fields = {
        "change": change,
        "model_name": name,
        "model_version": version,
        "bundle_digest": digest,
        "before": before,
        "by": by,
        "reason": why,
    }
    shown = {key: value for key, value in fields.items() if value}
    text = (
        f"{change} {name}" + (f" version {version}" if version else "") + (f", bundle {digest[:12]}" if digest else "")
    )
    text += f", by {by}" + (f": {why}" if why else "")
    _LOG.log(logging.ERROR if change == "refused" else logging.INFO, "%s", text, extra=event("audit", **shown))
