"""How far a push or a pull is."""

from __future__ import annotations

import subprocess
import sys

from anomaly_vae.cli.transfers import transfer_progress


def test_progress_takes_bytes(capsys):
    with transfer_progress("pushing", quiet=False) as on_bytes:
        on_bytes(1, 2)
        on_bytes(1, 2)
    assert capsys.readouterr().err == ""  # a job of less than 30 seconds prints no line


def test_quiet_commands_need_no_package_for_output():
    """The service's image can pull a model, though it has no rich."""
    code = (
        "import sys; from anomaly_vae.cli import pull, push; from anomaly_vae.cli.transfers import transfer_progress\n"
        "with transfer_progress('x', quiet=True) as shown:\n"
        "    print(shown, [name for name in ('rich', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None []\n"
