"""grpc.health.v1: whether the services are SERVING."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anomaly_vae.service.call_errors import CallError

__all__ = ["HEALTH", "Health"]

HEALTH: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Implements ``grpc.health.v1.Health``, with one status for all services.

    The servicer of grpcio-health-checking writes to its watchers under the lock that a change of status needs, so that
    a watcher that does not read would block the change. Here it blocks only itself.
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        """Start with the services, and the server as a whole (""), NOT_SERVING."""
        self._statuses: Mapping[str, int] = dict.fromkeys(("", *services), Status.NOT_SERVING)
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Set the status of all services, and wake the watchers."""
        self._statuses = dict.fromkeys(self._statuses, Status.SERVING if serving else Status.NOT_SERVING)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(  # noqa: N802 (the method's name on the wire)
        self, request: health_pb2.HealthCheckRequest, _context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Return the status of a service; NOT_FOUND for an unknown one."""
        status = self._statuses.get(request.service)
        if status is None:
            known = ", ".join(repr(name) for name in self._statuses)
            raise CallError(grpc.StatusCode.NOT_FOUND, f"no such service here; known: {known}", field="service")
        return Status(status=status)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> None:
        """Send the status of a service now, and at each change."""
        sent = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, Status.SERVICE_UNKNOWN)
            if status != sent:
                await context.write(Status(status=status))
                sent = status
            else:
                await changed.wait()
