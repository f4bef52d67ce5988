"""The parameters of a request and of its tensors. A few are known, some are refused, all others are ignored.

Clients of the protocol send parameters that mean nothing here, such as Triton's ``sequence_id``. A parameter is refused
if the client would otherwise get other scores, or another form of reply, than it requests.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.pb import inference_pb2 as pb

__all__ = ["KnownParameters", "Parameters", "check_parameters", "check_size", "parameters_of"]

Parameters = Mapping[str, pb.InferParameter]

_KNOWN = ("timeout", "priority", "num_samples")
_SIZE = "binary_data_size"  # KServe's client sends it
# Chosen, not measured: clients send a few; more would only cost memory.
_MOST_PARAMETERS = 64

# Triton's parameters for values that are not in the message, and for another form of reply.
_SHARED_MEMORY = "shared_memory_"
_CLASSIFICATION = "classification"

# Options of ScoringService.Score that this service does not have.
_OF_SCORE = ("max_std_error", "flag_only")

# difflib's similarity to num_samples from which a name counts as a misspelling of it: num_sample, numSamples and
# n_samples have 0.9 and more, num_steps has 0.7. Chosen between these.
_MISSPELT = 0.8
# Longer names are not compared, which would take long. No name of more than 16 letters is as similar as that.
_LONGEST_MISSPELT = 20


class KnownParameters(NamedTuple):
    """The known parameters of a request.

    Attributes:
        num_samples: The budget, 0 for the calibrated one.
        timeout: Seconds that the request may take, or None.
    """

    num_samples: int
    timeout: float | None


def parameters_of(parameters: Parameters) -> KnownParameters:
    """Return the known parameters of a request.

    Raises:
        CallError: INVALID_ARGUMENT naming a parameter that must not be ignored, or that is not a whole number.
    """
    num_samples, timeout = 0, None
    check_parameters(parameters, "parameters", known=_KNOWN)
    for name in _KNOWN:
        if name not in parameters:
            continue
        number = _whole_number(f"parameters.{name}", parameters[name])
        if name == "num_samples":
            num_samples = number
        elif name == "timeout":  # microseconds; as in Triton, 0 stands for no timeout
            timeout = number * 1e-6 if number else None
    return KnownParameters(num_samples, timeout)


def check_parameters(parameters: Parameters, field: str, known: tuple[str, ...] = ()) -> None:
    """Refuse parameters that must not be ignored.

    Args:
        parameters: The parameters of a request or of one of its tensors.
        field: Their field's name in the request.
        known: Names that the caller of this function reads itself.

    Raises:
        CallError: INVALID_ARGUMENT naming a parameter, or too many of them.
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
    """Raise INVALID_ARGUMENT if the parameter ``binary_data_size`` of a tensor is not the size of its values."""
    if _SIZE not in parameters:
        return
    field = f"{field}.{_SIZE}"
    claimed = _whole_number(field, parameters[_SIZE])
    if claimed != num_bytes:
        raise invalid(field, f"is {claimed}, the values have {num_bytes} bytes; correct it or leave it out")


def _is_num_samples(name: str) -> bool:
    """Return whether a name looks like num_samples. Ignored, it would return scores of another budget."""
    if len(name) > _LONGEST_MISSPELT:
        return False
    return bool(difflib.get_close_matches(name.lower(), ["num_samples"], cutoff=_MISSPELT))


def _whole_number(field: str, value: pb.InferParameter) -> int:
    """Return a parameter as a number, 0 or more. Clients send it as an int64, a uint64 or text."""
    kind = value.WhichOneof("parameter_choice")
    if kind in ("int64_param", "uint64_param"):
        number = int(getattr(value, kind))
        if number >= 0:
            return number
    text = value.string_param
    if text.isascii() and text.isdecimal() and len(text) <= 19:
        return int(text)
    raise invalid(field, "must be a whole number, 0 or more: an int64, a uint64 or text of digits")
