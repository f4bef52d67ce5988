"""Requests that change models, as Triton's and KServe's clients send them."""

from __future__ import annotations

from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.pb import inference_pb2 as pb

__all__ = ["check_repository", "model_to_change"]

# The only parameter of Triton that changes nothing here: no model depends on another.
_HARMLESS = "unload_dependents"


def model_to_change(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """Return the name of the model to load or unload.

    Raises:
        CallError: INVALID_ARGUMENT for no name, a repository, or parameters: what is loaded is decided by the service's
            own settings, never by a request.
    """
    name, repository = request.model_name, request.repository_name
    if not name:  # KServe's clients send the name in the first field
        name, repository = repository, ""
    check_repository(repository)
    if not name:
        raise invalid("model_name", "is empty; send the name of the model")
    for key in request.parameters:
        if key != _HARMLESS:
            raise invalid(f"parameters.{key[:40]}", "cannot be set by a request; change the model's folder")
    return name


def check_repository(name: str) -> None:
    """Raise INVALID_ARGUMENT for the name of a repository: there is only one, without a name."""
    if name:
        raise invalid("repository_name", f"is {name[:40]!r}; there is only one repository, leave it empty")
