"""All benchmarks, with their tables printed and their figures saved as JSON.

python -m tests.benchmarks.run --out FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.benchmarks import adbench, memory
from tests.conftest import DATA


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, object] = {"memory": memory.main([])}
    if (DATA / "adbench").is_dir():
        peers = DATA.parent / "peers" / "adbench_peers.csv"
        options = ["--peers", str(peers)] if peers.exists() else []
        figures["adbench"] = adbench.main([str(DATA / "adbench"), "--out", str(folder / "adbench.csv"), *options])
    else:
        print("skipped: the ADBench tables are not here; set ANOMALY_VAE_DATA to a folder with adbench/*.npz")
    (folder / "figures.json").write_text(json.dumps(figures, indent=2, default=float))


if __name__ == "__main__":
    main()
