"""Parses W3C Trace Context headers and request ids strictly, https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Metadata", "TraceContext", "request_id_of", "trace_context_of"]

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

_MAX_REQUEST_ID_LENGTH = 128  # characters, as in scoring.proto

# version, trace id, parent id, flags. Versions after 00 may add fields after another hyphen.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]*)?")
_INVALID_VERSION = "ff"
_SAMPLED = 1

_MAX_MEMBERS = 32  # a limit of the standard
_MEMBER = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The position of one span in a trace.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        span_id: 16 lower-case hexadecimal digits.
        sampled: Whether the caller records the trace.
        state: The checked ``tracestate``, data of tracing systems.
        parent_id: The parent span, or empty.
    """

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""
    parent_id: str = ""

    def child(self) -> TraceContext:
        """Return a new child span of this one."""
        return TraceContext(self.trace_id, os.urandom(8).hex(), self.sampled, self.state, self.span_id)


def trace_context_of(metadata: Metadata) -> TraceContext | None:
    """Return the caller's span from ``traceparent`` and ``tracestate``.

    Return None if ``traceparent`` is missing, malformed or given twice.
    """
    parents, states = [], []
    for key, value in metadata:
        if key == "traceparent":
            parents.append(value)
        elif key == "tracestate":
            states.append(value)
    if len(parents) != 1 or not isinstance(parents[0], str):
        return None
    found = _TRACEPARENT.fullmatch(parents[0])
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == _INVALID_VERSION or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _checked_state(states))


def request_id_of(metadata: Metadata) -> str:
    """Return the caller's ``x-request-id``; empty if it is missing, too long or not printable."""
    for key, value in metadata:
        if key == "x-request-id" and isinstance(value, str):
            return value if len(value) <= _MAX_REQUEST_ID_LENGTH and value.isprintable() else ""
    return ""


def _checked_state(values: list[str | bytes]) -> str:
    """Join all members in order. Return an empty text if one is malformed or given twice, as the standard requires."""
    members, keys = [], set()
    for value in values:
        if not isinstance(value, str):
            return ""
        for member in filter(None, (part.strip(" \t") for part in value.split(","))):
            if not _MEMBER.fullmatch(member):
                return ""
            members.append(member)
            keys.add(member.partition("=")[0])
    return ",".join(members) if len(keys) == len(members) <= _MAX_MEMBERS else ""
