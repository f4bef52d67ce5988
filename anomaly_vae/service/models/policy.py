"""Which versions of a model are served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from anomaly_vae.errors import ConfigError

__all__ = ["Policy", "Rule", "parse_policy"]

_EXPECTED = "expected latest:N, all, NAME=latest:N, NAME=all or NAME=3,5"
_LATEST = re.compile(r"latest:([1-9][0-9]{0,5})")
_NUMBERS = re.compile(r"[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*")


@dataclass(frozen=True)
class Rule:
    """The versions of one model that are served.

    Attributes:
        latest: The number of versions, newest first; None for no limit.
        pinned: The only versions that are served; None for any.
    """

    latest: int | None = None
    pinned: frozenset[int] | None = None

    def candidates(self, versions: Iterable[int]) -> list[int]:
        """Return the versions that may be served, newest first."""
        return sorted((v for v in versions if self.pinned is None or v in self.pinned), reverse=True)


@dataclass(frozen=True)
class Policy:
    """The rules of all models.

    Attributes:
        default: The rule of models without one of their own.
        rules: The rules of models, by name.
    """

    default: Rule
    rules: dict[str, Rule]

    def rule(self, name: str) -> Rule:
        """Return the rule of a model."""
        return self.rules.get(name, self.default)


def parse_policy(texts: Iterable[str]) -> Policy:
    """Return the policy of ``--versions``.

    Raises:
        ConfigError: A text is none of the expected ones, or two speak of the same models.
    """
    default, rules = None, dict[str, Rule]()
    for text in texts:
        name, is_named, words = text.rpartition("=")
        rule = _rule(words, text, is_named=bool(is_named and name))
        if is_named:
            if name in rules:
                raise ConfigError(f"versions: {text!r} is the second rule for {name!r}; give one")
            rules[name] = rule
        elif default is not None:
            raise ConfigError(f"versions: {text!r} is the second rule for all models; give one, or NAME={text}")
        else:
            default = rule
    return Policy(default or Rule(latest=1), rules)


def _rule(words: str, text: str, *, is_named: bool) -> Rule:
    if words == "all":
        return Rule()
    if latest := _LATEST.fullmatch(words):
        return Rule(latest=int(latest[1]))
    if is_named and _NUMBERS.fullmatch(words):
        return Rule(pinned=frozenset(map(int, words.split(","))))
    raise ConfigError(f"versions: {text!r} is no policy; {_EXPECTED}")
