"""The load tests are run by hand; here only that they start."""

import importlib

import pytest


@pytest.mark.parametrize(
    "name", ["deaths", "drops", "fairness", "faults", "overload", "reloads", "restarts", "rolling", "soak", "workers"]
)
def test_a_load_test_explains_itself(name, capsys):
    """Its imports and its options are right."""
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"tests.load.{name}").main(["--help"])
    assert ended.value.code == 0
    assert f"python -m tests.load.{name}" in capsys.readouterr().out
