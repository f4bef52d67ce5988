"""The parameters of a request and of its tensors: a few are known, some are refused, and all others are ignored.

Clients of the protocol send parameters that mean nothing here, such as KServe's ``binary_data_size`` or Triton's
``sequence_id``. To ignore one is safe unless it asks for other scores or another reply than would be given.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

from anomaly_vae.service.faults import invalid
from anomaly_vae.service.pb import inference_pb2 as pb

__all__ = ["Options", "Parameters", "check_parameters", "check_size", "options_of"]

Parameters = Mapping[str, pb.InferParameter]

_KNOWN = ("timeout", "priority", "num_samples")
_SIZE = "binary_data_size"
_MOST_PARAMETERS = 64

# Triton's ways to other values than the tensor's, or to another reply.
_SHARED_MEMORY = "shared_memory_"
_CLASSIFICATION = "classification"

# What ScoringService.Score takes, and this service does not.
_OF_SCORE = ("max_std_error", "flag_only")

# difflib's likeness to num_samples: num_sample, numSamples and n_samples have 0.9 and more, num_steps has 0.7.
_MISSPELT = 0.8
_LONGEST_MISSPELT = 20


class Options(NamedTuple):
    """The parameters of a request.

    Attributes:
        num_samples: The budget asked for, or 0.
        timeout: Seconds that the request may take, or None.
    """

    num_samples: int
    timeout: float | None


def options_of(parameters: Parameters) -> Options:
    """What the parameters of a request ask for.

    Raises:
        Fault: INVALID_ARGUMENT naming a parameter that must not be ignored, or is no whole number.
    """
    num_samples, timeout = 0, None
    check_parameters(parameters, "parameters", known=_KNOWN)
    for name in _KNOWN:
        if name not in parameters:
            continue
        number = _whole_number(f"parameters.{name}", parameters[name])
        if name == "num_samples":
            num_samples = number
        elif name == "timeout":  # 0 is Triton's word for none
            timeout = number * 1e-6 if number else None
    return Options(num_samples, timeout)


def check_parameters(parameters: Parameters, field: str, known: tuple[str, ...] = ()) -> None:
    """Refuse parameters without which the reply would not be what was asked for.

    Args:
        parameters: Of a request or one of its tensors.
        field: What they are called in the request.
        known: Names that somebody else looks at.

    Raises:
        Fault: INVALID_ARGUMENT naming a parameter, or too many of them.
    """
    if len(parameters) > _MOST_PARAMETERS:
        raise invalid(field, f"has {len(parameters)} entries, at most {_MOST_PARAMETERS} may be; leave some out")
    for name in parameters:
        if name in known:
            continue
        if name == _CLASSIFICATION or name.startswith(_SHARED_MEMORY):
            raise invalid(field, f"{name[:40]!r} is not offered here: leave it out")
        if name in _OF_SCORE:
            raise invalid(field, f"{name!r} is not offered here, only by anomaly_vae.v1.ScoringService: leave it out")
        if _is_num_samples(name):
            raise invalid(field, f"{name!r} is not known here; name it num_samples, in the request's own parameters")


def check_size(parameters: Parameters, field: str, num_bytes: int) -> None:
    """Refuse a tensor that says it has another size than its values.

    Raises:
        Fault: INVALID_ARGUMENT.
    """
    if _SIZE not in parameters:
        return
    field = f"{field}.{_SIZE}"
    claimed = _whole_number(field, parameters[_SIZE])
    if claimed != num_bytes:
        raise invalid(field, f"is {claimed}, the values have {num_bytes} bytes; correct it or leave it out")


def _is_num_samples(name: str) -> bool:
    """Whether a name seems to ask for another budget: ignored, it would change scores."""
    if len(name) > _LONGEST_MISSPELT:
        return False
    return bool(difflib.get_close_matches(name.lower(), ["num_samples"], cutoff=_MISSPELT))


def _whole_number(field: str, value: pb.InferParameter) -> int:
    """A parameter as a number from 0; clients send it as either integer or as text."""
    kind = value.WhichOneof("parameter_choice")
    if kind in ("int64_param", "uint64_param"):
        number = int(getattr(value, kind))
        if number >= 0:
            return number
    text = value.string_param
    if text.isascii() and text.isdecimal() and len(text) <= 19:
        return int(text)
    raise invalid(field, "must be a whole number, 0 or more: an int64, a uint64 or text of digits")
