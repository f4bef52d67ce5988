"""Changes of models that callers ask for."""

import asyncio

import grpc
import pytest

from anomaly_vae.errors import BundleError
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import Caller
from anomaly_vae.service.models.control import ModelControl
from anomaly_vae.service.models.repository import Listed
from anomaly_vae.service.peers import Alone
from anomaly_vae.service.telemetry.records import begin_record


class FakeRepository:
    def __init__(self):
        self.done = []

    def index(self):
        return [Listed("fraud", "1", "READY", "")]

    async def load(self, name, by):
        if name == "bad":
            raise BundleError("bad: encoder.onnx is missing")
        self.done.append(("load", name, by))

    async def unload(self, name, by):
        self.done.append(("unload", name, by))


def on_control(scenario, *, is_explicit=True, admin=True, anyone=False):
    async def run():
        record = begin_record("unary", "service", "method", caller="token:ops")
        record.identity = Caller("ops", admin=admin)
        repository = FakeRepository()
        await scenario(ModelControl(repository, Alone(), is_explicit=is_explicit, anyone=anyone))
        return repository.done

    return asyncio.run(run())


def test_models_are_changed_in_the_name_of_the_caller():
    async def scenario(control):
        await control.load("fraud")
        await control.unload("fraud")
        assert control.index() == [Listed("fraud", "1", "READY", "")]

    assert on_control(scenario) == [("load", "fraud", "token:ops"), ("unload", "fraud", "token:ops")]


def test_what_cannot_be_loaded_says_why_and_what_is_not_there_is_not_found():
    async def scenario(control):
        with pytest.raises(CallError, match=r"encoder\.onnx is missing") as error:
            await control.load("bad")
        assert (error.value.code, error.value.field) == (grpc.StatusCode.FAILED_PRECONDITION, "model_name")
        with pytest.raises(CallError, match="is no model here") as error:
            await control.unload("x" * 1_000)
        assert error.value.code is grpc.StatusCode.NOT_FOUND

    assert on_control(scenario) == []


def test_calls_change_nothing_unless_models_are_controlled_by_them():
    async def scenario(control):
        for change in (control.load, control.unload):
            with pytest.raises(CallError, match="start the service with --model-control explicit") as error:
                await change("fraud")
            assert error.value.code is grpc.StatusCode.FAILED_PRECONDITION

    assert on_control(scenario, is_explicit=False) == []


def test_a_caller_without_the_right_changes_nothing_unless_anyone_may():
    async def refused(control):
        for change in (control.load, control.unload):
            with pytest.raises(CallError, match=r"anomaly-vae token NAME --admin") as error:
                await change("fraud")
            assert error.value.code is grpc.StatusCode.PERMISSION_DENIED
        assert len(control.index()) == 1  # which only reads

    async def allowed(control):
        await control.load("fraud")

    assert on_control(refused, admin=False) == []
    assert on_control(allowed, admin=False, anyone=True) == [("load", "fraud", "token:ops")]


def test_a_caller_that_goes_does_not_stop_the_change():
    async def scenario(control):
        begun, go = asyncio.Event(), asyncio.Event()

        async def load(content):
            begun.set()
            await go.wait()
            await control._load(content)

        control._peers.handle("load", load)
        call = asyncio.create_task(control.load("fraud"))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go.set()
        while control._changes:
            await asyncio.sleep(0)

    assert on_control(scenario) == [("load", "fraud", "token:ops")]
