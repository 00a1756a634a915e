#!/usr/bin/env python3
"""Runs the README's commands word for word: every `sh` block that follows a line `<!-- tested -->`.

usage: readme.py

The blocks run in order in one shell, in a copy of nothing: the repository itself, whose model_store/ and
out/ they write to. Each must end with status 0, and what an `EXPECTED` row names must be in its output.
Needs curl, and httpie on the PATH.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)

# What the blocks together must print.
EXPECTED = [
    "the known answers of the sample are reproduced", "READY", "Model server started.", '"base64_prediction"', "Healthy", '"minWorkers": 1', "Workers scaled to 2",
    '"ready"', "the counters agree", "ts_inference_requests_total{", "marserve has stopped", "scenes-onnx",
    "fastest at batch 1",
]


def main() -> int:
    for tool in ("curl", "http"):
        if shutil.which(tool) is None:
            print(f"readme.py needs {tool}: apt-get install curl, pip install httpie", file=sys.stderr)
            return 1
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    if len(blocks) < 3:
        print(f"README.md has {len(blocks)} tested blocks; the markers are gone", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        # A temporary folder of its own keeps it from a server that somebody runs here.
        script = f"set -euxo pipefail\nexport TMPDIR={temporary}\nexport LOG_LOCATION={temporary}/logs\n"
        script += f"export TS_MODEL_CACHE={temporary}/models\n"
        script += "trap 'target/release/marserve --stop' EXIT\n" + "".join(blocks)
        run = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500, check=False,
        )
    missing = [words for words in EXPECTED if words not in run.stdout]
    if run.returncode != 0 or missing:
        print(run.stdout)
        print(f"status {run.returncode}, not printed: {missing}", file=sys.stderr)
        return 1
    print(f"README.md: {len(blocks)} blocks ran as written")
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
