"""Folders that are dropped among the versions of a served model, and must never be served."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from anomaly_vae.bundle.contents import SIGNATURE
from anomaly_vae.bundle.manifest import FORMAT_VERSION
from anomaly_vae.remote.keys import make_keys
from anomaly_vae.remote.signing import sign
from tests.support.array_attacks import ARRAY_ATTACKS
from tests.support.attacks import FOLDERS, MANIFESTS, PICKLE, edit
from tests.support.graph_attacks import GRAPH_ATTACKS

__all__ = ["Drop", "damaged", "misplaced", "wrongly_signed"]

# Makes a bad version of the good bundle that lies at this path already.
Drop = Callable[[Path], object]

_FORMATS = (1, FORMAT_VERSION - 1, FORMAT_VERSION + 1)


def damaged(bundle: Path, other: Path, number: int, draws: random.Random) -> dict[str, Drop]:
    """Return ``number`` ways to damage a bundle of the tests: attacks, and copies that are cut off or mixed up.

    Args:
        bundle: The bundle that is damaged.
        other: Another bundle with files of the same names.
        number: How many; at least one of each kind.
        draws: Chooses among them.
    """
    names = sorted(path.name for path in bundle.iterdir() if path.name != SIGNATURE)
    kinds: list[dict[str, Drop]] = [
        {f"attack: {name}": attack for name, (attack, _) in each.items() if name != "device"}
        for each in (FOLDERS, MANIFESTS, GRAPH_ATTACKS, ARRAY_ATTACKS)
    ]
    kinds += [
        {f"cut off: {name}": _truncated(name, draws.random()) for name in names},
        {f"one byte: {name}": _flipped(name, draws.random()) for name in names},
        {f"of another: {name}": _taken(name, other) for name in names if _differ(bundle / name, other / name)},
        {f"half copied: {left} of {len(names)}": _half_copied(names[:left]) for left in range(len(names))},
        {f"half copied, backwards: {left}": _half_copied(names[-left:]) for left in range(1, len(names))},
        {f"format {version}": edit(lambda m, v=version: m.update(format_version=v)) for version in _FORMATS},
        {f"linked: {name}": _linked(name, bundle) for name in names},
    ]
    chosen: dict[str, Drop] = {}
    for round_ in range(number):
        kind = kinds[round_ % len(kinds)]
        left = sorted(kind.keys() - chosen.keys())
        if left:
            name = draws.choice(left)
            chosen[name] = kind[name]
    rest = sorted({name for kind in kinds for name in kind} - chosen.keys())
    for name in draws.sample(rest, number - len(chosen)):
        chosen[name] = next(kind[name] for kind in kinds if name in kind)
    return chosen


def wrongly_signed(other: Path, keys: Path) -> dict[str, Drop]:
    """Return ways to spoil a bundle whose signature is right.

    Args:
        other: Another bundle, signed with the same key.
        keys: An empty folder for the keys of a stranger.
    """
    private = keys / "stranger.pem"
    make_keys(private, keys / "stranger.pub.pem")

    def swapped_but_the_signature(folder: Path) -> None:
        for path in other.iterdir():
            if path.name != SIGNATURE:
                shutil.copy(path, folder)

    return {
        "unsigned": lambda folder: (folder / SIGNATURE).unlink(),
        "signed by a stranger": lambda folder: sign(folder, private),
        "the signature of another version": _taken(SIGNATURE, other),
        "the files of another version": swapped_but_the_signature,
        "the manifest of another version": _taken("manifest.json", other),
        "a graph of another version": _taken("decoder.onnx", other),
        "a file more": lambda folder: (folder / "more.bin").touch(),
        "a file less": lambda folder: (folder / "noise.npy").unlink(),
        "an empty signature": lambda folder: (folder / SIGNATURE).write_bytes(b""),
        "half a signature": _truncated(SIGNATURE, 0.5),
        "a changed signature": _flipped(SIGNATURE, 0.5),
        "a pickle as signature": lambda folder: (folder / SIGNATURE).write_bytes(PICKLE),
        "a link as signature": _linked(SIGNATURE, other),
        "a folder as signature": _folder_instead(SIGNATURE),
        "a changed manifest": edit(lambda m: m.update(label="other")),
    }


def misplaced(models: Path, name: str, bundle: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """Return things that lie in the wrong place of a folder of models: the path, and what makes it."""
    root, versions = models, models / name

    def copy(path: Path) -> None:
        shutil.copytree(bundle, path, symlinks=True)

    def loop(path: Path) -> None:
        path.symlink_to(path.name)

    return {
        "a link to itself as model": (root / "loop", loop),
        "a link to itself as version": (versions / "90", loop),
        "a link to nothing as version": (versions / "91", lambda path: path.symlink_to("nothing")),
        "a file as version": (versions / "92", lambda path: path.write_bytes(b"x")),
        "a pipe as version": (versions / "93", os.mkfifo),
        "a bundle without a version": (root / "misplaced", copy),
        "a bundle where models are": (root / "94", copy),
        "a manifest where models are": (root / "manifest.json", lambda path: path.write_bytes(b"{}")),
        "a manifest where versions are": (versions / "manifest.json", lambda path: path.write_bytes(b"{}")),
        "the same version twice": (versions / "01", copy),
        "a version beyond all numbers": (versions / ("9" * 30), copy),
        "a version in other digits": (versions / "٩", copy),
        "a negative version": (versions / "-1", copy),
        "an empty model": (root / "empty", lambda path: path.mkdir()),
    }


def _truncated(name: str, part: float) -> Drop:
    return lambda folder: os.truncate(folder / name, int(part * (folder / name).stat().st_size))


def _flipped(name: str, part: float) -> Drop:
    def attack(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[int(part * len(data))] ^= 0x10
        (folder / name).write_bytes(data)

    return attack


def _taken(name: str, other: Path) -> Drop:
    return lambda folder: shutil.copy(other / name, folder / name)


def _half_copied(left: list[str]) -> Drop:
    def attack(folder: Path) -> None:
        for path in folder.iterdir():
            if path.name not in left:
                path.unlink()

    return attack


def _linked(name: str, origin: Path) -> Drop:
    def attack(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(origin / name)

    return attack


def _folder_instead(name: str) -> Drop:
    def attack(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return attack


def _differ(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() != other.read_bytes()
