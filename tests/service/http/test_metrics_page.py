"""The metrics page is current, and rendered at most once a second for all clients."""

import contextlib
import gzip
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

from anomaly_vae.service.http.listener import HttpListener
from tests.support.data import make_rows
from tests.support.running import AS_INSTALLED, running, score, tensor

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


class Builds(Collector):
    """Counts how often it is rendered. ``first`` may block or raise."""

    def __init__(self, first=lambda: None):
        self.registry, self.count, self.first = CollectorRegistry(), 0, first
        self.registry.register(self)
        self.gauge = Gauge("value", "A value.", registry=self.registry)

    def describe(self):
        return []

    def collect(self):
        self.count += 1
        self.first()
        return []


async def good():
    return True, "good"


@contextlib.contextmanager
def serving(builds):
    server = HttpListener("127.0.0.1", 0, builds.registry, alive=good, ready=good)
    try:
        yield server.port
    finally:
        server.close()


def ask(port, path="/metrics", method="GET", **headers):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()


def value(port):
    return float(ask(port)[2].decode().rsplit("value ", 1)[1])


def test_the_first_page_after_a_pause_of_a_second_is_current():
    builds = Builds()
    with serving(builds) as port:
        for number in range(3):
            builds.gauge.set(number)
            assert value(port) == number
            time.sleep(1.1)
    assert builds.count == 3


def test_many_scrapers_get_a_page_a_second_each():
    builds = Builds()
    with serving(builds) as port:
        began = time.monotonic()

        def scrape():
            pages = 0
            while time.monotonic() - began < 3:
                assert ask(port)[0] == 200
                pages += 1
            return pages

        with ThreadPoolExecutor(30) as threads:
            pages = [future.result() for future in [threads.submit(scrape) for _ in range(30)]]
        seconds = time.monotonic() - began
    assert builds.count <= seconds + 1
    assert sum(pages) <= 38 * builds.count
    assert min(pages) >= 2


def test_scrapers_in_closed_loops_do_not_slow_scores(model_path):
    """Without the limit, 30 of them made a score take 45 times as long (measured)."""
    row = tensor(make_rows(1))

    def median_seconds(channel):
        seconds = []
        for _ in range(100):
            began = time.monotonic()
            score(channel, tensor=row)
            seconds.append(time.monotonic() - began)
        return sorted(seconds)[50]

    with running(model_path, command=AS_INSTALLED) as service, service.channel() as channel:
        median_seconds(channel)
        alone, done = median_seconds(channel), threading.Event()

        def scrape():
            while not done.is_set():
                ask(service.metrics_port)

        with ThreadPoolExecutor(30) as threads:
            for _ in range(30):
                threads.submit(scrape)
            ask(service.metrics_port)
            crowded = median_seconds(channel)
            done.set()
    assert crowded < 10 * alone


def test_several_replicas_do_not_wait_but_a_client_in_a_loop_does():
    builds = Builds()
    with serving(builds) as port:
        began = time.monotonic()
        builds.gauge.set(1)
        assert value(port) == 1
        builds.gauge.set(2)
        seen = [value(port) for _ in range(7)]
        if time.monotonic() - began < 1:  # otherwise, on a busy machine, the page is stale by now
            assert seen == [1] * 7
            assert builds.count == 1
        while builds.count == 1:
            assert value(port) in (1, 2)
        assert value(port) == 2
    assert time.monotonic() - began >= 1


def test_formats_are_rendered_one_at_a_time_and_compressed_once():
    builds = Builds()
    with serving(builds) as port:
        began = time.monotonic()
        plain, packed = ask(port)[2], ask(port, Accept_Encoding="gzip")
        assert gzip.decompress(packed[2]) == plain
        assert packed[1]["Content-Encoding"] == "gzip"
        assert packed[1]["Vary"] == "Accept, Accept-Encoding"
        for escaping in ("underscores", "dots", "values", "allow-utf-8"):
            ask(port, Accept=f"application/openmetrics-text;version=1.0.0;escaping={escaping}")
        assert builds.count <= 2 * (1 + time.monotonic() - began)


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", PLAIN, b"value 0.0\n"),
        ("*/*", PLAIN, b"value 0.0\n"),
        (
            PROMETHEUS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            b"value 0.0\n# EOF\n",
        ),
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            b"value 0.0\n# EOF\n",
        ),
        ("application/openmetrics-text; version=9.0.0", PLAIN, b"value 0.0\n"),
        ("application/openmetrics-text; version=abc", PLAIN, b"value 0.0\n"),
        ("text/plain; version=", PLAIN, b"value 0.0\n"),
    ],
)
def test_the_format_is_one_that_was_asked_for(accept, content_type, end):
    with serving(Builds()) as port:
        status, headers, body = ask(port, Accept=accept)
        assert (status, headers["Content-Type"]) == (200, content_type)
        assert body.endswith(end)
        status, headers, nothing = ask(port, method="HEAD", Accept=accept)
        assert (status, headers["Content-Type"], headers["Content-Length"]) == (200, content_type, str(len(body)))
        assert nothing == b""


def test_slow_rendering_delays_no_probe():
    go_on = threading.Event()
    with serving(Builds(first=lambda: go_on.wait(60))) as port, ThreadPoolExecutor(50) as threads:
        pages = [threads.submit(ask, port) for _ in range(50)]
        for _ in range(20):
            assert ask(port, "/readyz")[0] == ask(port, "/livez")[0] == 200
        assert not any(page.done() for page in pages)
        go_on.set()
        assert {page.result()[0] for page in pages} == {200}


def test_clients_that_do_not_read_the_page_do_not_block_others():
    """Hundreds of clients request the page and read only a few bytes of the reply."""
    builds = Builds()
    many = Gauge("many", "Series enough for a page of 10 MB.", ["number"], registry=builds.registry)
    for number in range(10_000):
        many.labels(f"{number:01000}")
    with serving(builds) as port, contextlib.ExitStack() as stack:
        whole = len(ask(port)[2])
        readers = []
        for _ in range(300):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            reader.connect(("127.0.0.1", port))
            reader.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            readers.append(reader)
        assert ask(port, "/readyz")[0] == 200
        assert len(ask(port)[2]) == whole
        time.sleep(5)  # the time of a connection
        with contextlib.suppress(ConnectionError):
            assert len(b"".join(iter(lambda: readers[-1].recv(65_536), b""))) < whole
        assert ask(port, "/readyz")[0] == 200


def test_metrics_that_cannot_be_read_are_an_error_until_they_can(caplog):
    failing = threading.Event()
    failing.set()

    def fail():
        if failing.is_set():
            raise ValueError("of ours")

    builds = Builds(first=fail)
    with serving(builds) as port:
        status, _, text = ask(port)
        assert (status, text) == (500, b"the metrics cannot be read; the server's log says why\n")
        assert caplog.messages == ["/metrics failed with ValueError"]
        assert ask(port, "/readyz")[0] == 200
        failing.clear()
        assert ask(port)[0] == 200
    assert builds.count == 2


def test_a_real_service_shows_what_it_counts(model_path):
    with running(model_path, command=AS_INSTALLED) as service:
        assert service.metric("anomaly_vae_model_info") == 1
        pages = {service.get("/metrics")[1] for _ in range(3)}
    assert len(pages) <= 3
