"""Pages of HTML in a real browser: no message on its console, no request, and no scrolling sideways on a phone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest

from anomaly_vae.pages.evaluation import evaluation_page
from anomaly_vae.pages.profile import ProfiledColumn, profile_page
from anomaly_vae.pages.report import report_page
from tests.support.evaluations import full_evaluation
from tests.support.reports import full_report

# A name of a column that runs or loads something wherever it is not escaped.
NAME = '"><script src=http://attack.test/a.js></script><img src=http://attack.test/x.png onerror=alert(1)>{{7*7}}'

# A page that does what ours must not: it shows that the browser tells of it.
BAD = """<!doctype html><script>console.log("script runs")</script><img src="http://attack.test/x.png">
<p style="width: 800px; height: 9px">"""

# Tells by how much pages are too wide, in frames as wide as a phone and as a desktop.
FRAMES = """<!doctype html><body>{frames}<script>addEventListener("load", () => {{
  const roots = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument.documentElement)
  document.body.innerText = roots.map((root) => root.scrollWidth - root.clientWidth).join(" ")
}})</script></body>"""


@pytest.fixture
def browse(tmp_path):
    """Open pages; return by how much each is too wide, the browser's messages, and the hosts that it asked for."""
    if shutil.which("chromium") is None:
        message = "chromium is not installed (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)

    def open_pages(*pages):
        frames = ""
        for i, page in enumerate(pages):
            (tmp_path / f"{i}.html").write_text(page, encoding="utf-8")
            frames += "".join(f'<iframe src="{i}.html" width="{width}"></iframe>' for width in (390, 1440))
        (tmp_path / "frames.html").write_text(FRAMES.format(frames=frames))
        log = tmp_path / "requests.json"
        command = [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", f"--log-net-log={log}"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files"),
            (tmp_path / "frames.html").as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        excess = re.search(r"<body>([0-9 ]*)</body>", done.stdout)
        messages = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
        urls = re.findall(r"(?:https?|wss?|ftp)://[^\"\\ ]+", log.read_text(errors="replace"))
        return [int(each) for each in excess[1].split()], messages, {urlsplit(url).hostname for url in urls}

    return open_pages


def test_pages_with_hostile_names_run_nothing_ask_for_nothing_and_fit_a_phone(browse):
    """The browser's own requests, such as for its updates, are those that it also makes for another page."""
    excess, messages, own = browse(BAD)
    assert any("script runs" in message for message in messages)
    assert "attack.test" in own
    assert excess[0] > 400
    columns = [ProfiledColumn(NAME, NAME, NAME, NAME, 0.1, 3, (1, 2), False)]
    excess, messages, hosts = browse(
        report_page(full_report(NAME)),
        profile_page(NAME, [NAME], columns, NAME),
        evaluation_page(full_evaluation(NAME), NAME, NAME, [NAME]),
    )
    assert messages == []
    assert hosts <= own - {"attack.test"}
    assert excess == [0] * 6
