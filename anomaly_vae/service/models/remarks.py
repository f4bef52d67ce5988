"""What looks like a mistake although nothing fails: options without an effect, and bundles in the wrong folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.models.catalogue import Versions
from anomaly_vae.service.models.places import MANIFEST, folders_in, is_version
from anomaly_vae.service.models.policy import Policy
from anomaly_vae.service.models.shares import Share
from anomaly_vae.service.settings import ServeConfig

__all__ = ["check_name", "misplaced", "nothing_there", "share_remarks", "version_remarks"]

# Letters of a list of names or versions. Chosen, not measured: it fits a line.
_MOST_SHOWN = 200

Found = Mapping[str, Collection[str]]


def misplaced(folder: Path) -> list[str]:
    """Return a text for each bundle below a folder that is not served because of the name of its own folder.

    Raises:
        BundleError: The folder cannot be read.
    """
    return [] if (folder / MANIFEST).exists() else list(_misplaced(folder))


def _misplaced(folder: Path) -> Iterator[str]:
    for model in folders_in(folder):
        if is_version(model.name):
            continue
        if (model / MANIFEST).exists():
            yield f"{model} is a bundle without a version, which is not served; move it to {model / '1'}"
            continue
        for version in folders_in(model):
            if not is_version(version.name) and (version / MANIFEST).exists():
                yield (
                    f"{version} is a bundle, but {version.name[:40]!r} is no version, so it is not served; give the "
                    f"folder a whole number, such as {model / '1'}"
                )


def nothing_there(place: Path | str, found: Found, misplaced_texts: Collection[str]) -> str:
    """Return why there is no model to serve, although none is refused."""
    if found:
        there = ", ".join(f"{name} {version}" for name, of in found.items() for version in of)
        return f"{place}: --versions allows none of the versions there: {there[:_MOST_SHOWN]}"
    if misplaced_texts:
        return "; ".join(misplaced_texts)[: 5 * _MOST_SHOWN]
    return (
        f"{place}: no manifest.json there, and no folder NAME/VERSION with one; expected a bundle, a folder of "
        "versions or a folder of models"
    )


def check_name(config: ServeConfig, found: Found) -> None:
    """Check that a given name and version are those of what was found.

    Raises:
        ConfigError: The folders have names and versions of their own.
    """
    there = _listed(found)
    if config.name is not None and found and set(found) != {config.name}:
        raise ConfigError(
            f"name is {config.name!r}, but {config.model} holds models with names of their own, {there}; leave --name "
            "out, or give the folder of one model"
        )
    if config.version is not None and found and [set(of) for of in found.values()] != [{str(config.version)}]:
        raise ConfigError(
            f"model_version is {config.version}, but {config.model} holds versions with numbers of their own; use "
            f"--versions NAME={config.version} to serve only that one"
        )


def version_remarks(policy: Policy, found: Found, served: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with rules of ``--versions`` for single models."""
    for name, rule in policy.rules.items():
        if name not in found:
            yield f"versions: there is no model {name!r}, {_listed(found)} are there"
        elif name not in served and rule.pinned is not None and not rule.candidates(map(int, found[name])):
            pinned = ",".join(map(str, sorted(rule.pinned)))
            yield f"versions {name}={pinned}: not there, {_listed(found[name])} are; {name} is not served"


def share_remarks(
    option: str, shares: Mapping[str, Share], found: Found, served: Mapping[str, Versions]
) -> Iterator[str]:
    """Yield why a canary or a shadow gets nothing, for models that are served."""
    for name, share in shares.items():
        text, versions = f"{option} {name}={share.version}", served.get(name)
        if name not in found:
            yield f"{text}: there is no model {name!r}, {_listed(found)} are there"
        elif share.version not in found[name]:
            yield f"{text}: there is no such version, {_listed(found[name])} are there"
        elif versions is not None and getattr(versions, option) is None:
            if share.version == versions.default.version:
                yield f"{text}: it answers all requests, since there is no other version to serve"
            else:
                yield f"{text}: this version cannot be used; the line about its refusal says why"


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)[:_MOST_SHOWN] or "none"
