"""The errors of the package: one base class, exit codes, and what they carry."""

from __future__ import annotations

import inspect
import pickle

import pytest

from anomaly_vae import errors
from anomaly_vae.errors import AnomalyVaeError, AnomalyVaeWarning, ConfigError, InvalidInput, Overloaded, ServiceError


def test_errors_are_value_errors_too():
    """scikit-learn and existing callers catch ValueError."""
    assert issubclass(InvalidInput, ValueError)
    assert issubclass(ConfigError, ValueError)


def test_every_error_has_the_base_class_and_the_exit_code_of_the_contract():
    """Scripts compare the exit codes: 2 bad usage or input, 3 bundle refused, 4 server not started, 5 gate failed."""
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    found = {name: error.exit_code for name, error in classes.items() if issubclass(error, AnomalyVaeError)}
    assert found == {
        "AnomalyVaeError": 1,
        "BundleError": 3,
        "ConfigError": 2,
        "GateFailed": 5,
        "InvalidInput": 2,
        "Overloaded": 1,
        "RemoteError": 1,
        "ServiceError": 1,
        "StartupError": 4,
    }
    assert set(errors.__all__) == set(classes) == {*found, "AnomalyVaeWarning"}


def test_the_warning_is_a_user_warning():
    """Filters that users wrote for UserWarning keep working."""
    assert issubclass(AnomalyVaeWarning, UserWarning)
    assert not issubclass(AnomalyVaeWarning, AnomalyVaeError)


def test_an_error_carries_what_a_caller_acts_on():
    assert InvalidInput("row 1 is bad").field is None
    assert InvalidInput("row 1 is bad", field="flow").field == "flow"
    error = ServiceError("it is away", code="UNAVAILABLE")
    assert (str(error), error.code) == ("it is away", "UNAVAILABLE")
    full = Overloaded("the queue is full", retry_after=0.5)
    assert (full.code, full.retry_after) == ("RESOURCE_EXHAUSTED", 0.5)
    with pytest.raises(ServiceError, match="the queue is full"):
        raise full


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("row 1 is bad", field="flow"),
        ServiceError("it is away", code="UNAVAILABLE"),
        Overloaded("the queue is full", retry_after=0.5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_way_between_processes(error):
    """Process pools pickle the errors of their workers."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
