"""The choice of the tracer from option and environment variables."""

import os
import subprocess
import sys

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.telemetry.tracer import NoTracer, make_tracer


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_is_traced(environ):
    assert isinstance(make_tracer(None, environ), NoTracer)


def test_another_protocol_is_refused():
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with pytest.raises(
        ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL is 'http/protobuf', but spans are sent by grpc only"
    ):
        make_tracer(None, environ)


def test_without_the_extra_an_endpoint_is_refused_with_what_to_install(model_path, tmp_path):
    """The packages cannot be found, as if they were not installed."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "anomaly_vae", "serve", str(model_path), "--port=0", "--metrics-port=0"]
    for option, environ in (
        (["--otlp-endpoint", "http://127.0.0.1:1"], {}),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}),
    ):
        done = subprocess.run(
            [*command, *option],
            env=os.environ | environ | {"PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert "pip install 'anomaly_vae[otel]'" in line


def test_without_an_endpoint_opentelemetry_is_not_imported(tmp_path):
    code = "import sys, anomaly_vae.service.server; sys.exit(any(name.startswith('opentele') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
