"""Changes of models that callers ask for."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.models.repository import Listed, Repository
from anomaly_vae.service.peers import Answer, Peers
from anomaly_vae.service.telemetry.records import current_call

__all__ = ["ModelControl"]

_NOT_EXPLICIT = "models are not loaded by calls here; start the service with --model-control explicit"
_NO_ADMIN = (
    "this caller may not change models; its operator gives the right by `anomaly-vae token NAME --admin`, and without "
    "a token file only callers on this machine have it"
)


class ModelControl:
    """Loads and unloads models for callers, in all workers of the service."""

    def __init__(self, repository: Repository, peers: Peers, *, is_explicit: bool, anyone: bool = False) -> None:
        """Refuse all changes unless models are changed by calls.

        Args:
            repository: The models of this worker.
            peers: All workers.
            is_explicit: Whether models are changed by calls.
            anyone: Whether callers without the right "admin" may change them.
        """
        self._repository, self._peers = repository, peers
        self._is_explicit, self._anyone = is_explicit, anyone
        self._changes: set[asyncio.Task[list[Answer]]] = set()
        peers.handle("load", self._load)
        peers.handle("unload", self._unload)

    def index(self) -> list[Listed]:
        """Return all versions that were found."""
        return self._repository.index()

    async def load(self, name: str) -> None:
        """Load the newest versions of a model.

        Raises:
            CallError: FAILED_PRECONDITION if models are not changed by calls, or if the newest version is refused;
                PERMISSION_DENIED without the right to change models.
        """
        self._check()
        await self._change("load", name)

    async def unload(self, name: str) -> None:
        """Stop serving a model.

        Raises:
            CallError: As for :meth:`load`; NOT_FOUND if there is no such model.
        """
        self._check()
        if name not in {listed.name for listed in self._repository.index()}:
            raise CallError(grpc.StatusCode.NOT_FOUND, f"{name[:100]!r} is no model here", field="model_name")
        await self._change("unload", name)

    def _check(self) -> None:
        if not self._is_explicit:
            raise CallError(grpc.StatusCode.FAILED_PRECONDITION, _NOT_EXPLICIT)
        if not (self._anyone or current_call().identity.admin):
            raise CallError(grpc.StatusCode.PERMISSION_DENIED, _NO_ADMIN)

    async def _change(self, kind: str, name: str) -> None:
        """Change the model in all workers, to the end even if the caller does not wait for it."""
        change = asyncio.create_task(self._broadcast(kind, name))
        self._changes.add(change)
        change.add_done_callback(self._end)
        try:
            answers = await asyncio.shield(change)
            error = next((answer.error for answer in answers if answer.error), "")
        except AnomalyVaeError as raised:
            error = str(raised)
        if error:
            raise CallError(grpc.StatusCode.FAILED_PRECONDITION, error, field="model_name")

    async def _broadcast(self, kind: str, name: str) -> list[Answer]:
        return await self._peers.broadcast(kind, {"name": name, "by": current_call().caller})

    def _end(self, change: asyncio.Task[list[Answer]]) -> None:
        """Forget a change. If nobody waits for its error any more, the audit log still says what was refused."""
        self._changes.discard(change)
        if not change.cancelled():
            change.exception()

    async def _load(self, content: dict[str, Any]) -> None:
        await self._repository.load(content["name"], content["by"])

    async def _unload(self, content: dict[str, Any]) -> None:
        await self._repository.unload(content["name"], content["by"])
