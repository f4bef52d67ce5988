"""What each path of the protocol does: the same as its RPC."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.models.control import ModelControl
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rest.call import HttpCall
from anomaly_vae.service.rest.errors import Reply, json_reply
from anomaly_vae.service.rest.infer_format import RestFormat
from anomaly_vae.service.rest.plain import plain
from anomaly_vae.service.rest.routes import Found
from anomaly_vae.service.rpc.inference_servicer import InferenceServicer
from anomaly_vae.service.rpc.request_path import RequestPath
from anomaly_vae.service.scoring import Scoring

__all__ = ["JSON_LENGTH", "RestMethods"]

JSON_LENGTH = "inference-header-content-length"  # bytes of the JSON, behind which are values as bytes

# Triton's name of its extension that only HTTP needs.
_BINARY = "binary_tensor_data"
_MOST_DIGITS = 18

Parsed = TypeVar("Parsed", bound=msgspec.Struct)


class _IndexRequest(msgspec.Struct):
    ready: bool = False


class _ChangeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing: what is loaded is decided by the service's own settings, never by a request."""


class RestMethods:
    """Answers requests whose body was read."""

    def __init__(self, scoring: Scoring, control: ModelControl) -> None:
        """Score with the shared queue and models, which the control may change."""
        self._scoring = scoring
        self._rpc = InferenceServicer(scoring, control)

    async def infer(self, found: Found, body: bytes, json_length: str | None, expires: float) -> Reply:
        """Score rows.

        Args:
            found: The route, with the model's name.
            body: The request.
            json_length: The header of this name; None if the request is JSON only.
            expires: The deadline, seconds on the clock of ``time.monotonic``.

        Raises:
            CallError: The request is wrong, or cannot be scored now.
        """
        model = found.names["model"], found.names.get("version", "")
        message_format = RestFormat(self._scoring.config, model, _whole_number(json_length))
        reply = await RequestPath(self._scoring, message_format).answer(body, expires)
        if message_format.json_length is None:
            return Reply(HTTPStatus.OK, reply)
        length = ("Inference-Header-Content-Length", str(message_format.json_length))
        return Reply(HTTPStatus.OK, reply, (("Content-Type", "application/octet-stream"), length))

    async def ask(self, found: Found, body: bytes, call: HttpCall) -> Reply:
        """Answer any other request.

        Raises:
            CallError: The request is wrong, or names another model.
        """
        names = {"name": found.names.get("model", ""), "version": found.names.get("version", "")}
        match found.route.rpc:
            case "ServerLive":
                return _ready_reply("live", (await self._rpc.ServerLive(pb.ServerLiveRequest(), call)).live)
            case "ServerReady":
                return _ready_reply("ready", await self._is_ready(call))
            case "ModelReady":
                return await self._model_ready(names, call)
            case "ServerMetadata":
                server = plain(await self._rpc.ServerMetadata(pb.ServerMetadataRequest(), call))
                return json_reply(server | {"extensions": [*server["extensions"], _BINARY]})
            case "ModelMetadata":
                return json_reply(plain(await self._rpc.ModelMetadata(pb.ModelMetadataRequest(**names), call)))
            case "ModelConfig":
                return json_reply(plain((await self._rpc.ModelConfig(pb.ModelConfigRequest(**names), call)).config))
            case "ModelStatistics":
                return json_reply(plain(await self._rpc.ModelStatistics(pb.ModelStatisticsRequest(**names), call)))
            case "RepositoryIndex":
                request = _parsed(body, _IndexRequest)
                index = await self._rpc.RepositoryIndex(pb.RepositoryIndexRequest(ready=request.ready), call)
                return json_reply(plain(index).get("models", []))
            case "RepositoryModelLoad":
                _parsed(body, _ChangeRequest)
                await self._rpc.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=names["name"]), call)
                return json_reply({"name": names["name"], "load": True})
            case "RepositoryModelUnload":
                _parsed(body, _ChangeRequest)
                await self._rpc.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=names["name"]), call)
                return json_reply({"name": names["name"], "unload": True})
        raise NotImplementedError(found.route.rpc)

    async def _is_ready(self, call: HttpCall) -> bool:
        return bool((await self._rpc.ServerReady(pb.ServerReadyRequest(), call)).ready)

    async def _model_ready(self, names: dict[str, str], call: HttpCall) -> Reply:
        """Return 404 for an unknown model, which no waiting makes ready."""
        ready = (await self._rpc.ModelReady(pb.ModelReadyRequest(**names), call)).ready
        if not ready and await self._is_ready(call):
            return json_reply({"name": names["name"], "ready": False}, HTTPStatus.NOT_FOUND)
        return _ready_reply("ready", ready, name=names["name"])


def _parsed(body: bytes, kind: type[Parsed]) -> Parsed:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        names = " or ".join(f'{{"{name}": true}}' for name in kind.__struct_fields__)
        raise invalid("body", f"expected {{}}{' or ' if names else ''}{names}") from error


def _ready_reply(word: str, good: bool, **more: Any) -> Reply:
    return json_reply({**more, word: good}, HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)


def _whole_number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise invalid("Inference-Header-Content-Length", f"is {text[:40]!r}, expected a number of bytes")
    return int(text)
