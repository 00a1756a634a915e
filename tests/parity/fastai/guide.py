"""Runs docs/from-fastai.md: every `python` and `sh` block, in order, in a scratch folder with the guide's made data.

A `python` block whose first line is `# NAME.py` becomes that file. The `sh` blocks of the guide run in one shell. Each
must end with status 0, and what an `EXPECTED` row names must have been printed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pictures import FIGURES, draw_set
from rows import draw_rows
from run import EXPORTER, program, step
from serve import ROOT

GUIDE = ROOT / "docs/from-fastai.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SIZES = [(96, 80), (80, 96), (120, 72)]

# What the blocks together must print.
EXPECTED = [
    "samples are reproduced", "the sample are reproduced", '"disc"', '"base64_prediction"', '"labels"', '"middle"', "normalise", "differs", "status 1",
    "cannot carry over", "Model server started.", "marserve has stopped",
]


def data(folder: Path) -> None:
    """What the guide trains on: figures/CLASS/, scenes/images/ with scenes/masks/, and people.csv."""
    for number, figure in enumerate(FIGURES):
        (folder / "figures" / figure).mkdir(parents=True)
        draw_set(folder / "drawn", 40, 3000 + 100 * number, SIZES, only=number)
        for file in (folder / "drawn/images").iterdir():
            shutil.move(file, folder / "figures" / figure)
    shutil.rmtree(folder / "drawn")
    draw_set(folder / "scenes", 80, 5000, SIZES)
    frame = draw_rows(600, 5)
    frame.drop(columns="price").to_csv(folder / "people.csv", index=False)


def main() -> int:
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    if len(blocks) < 6:
        print(f"{GUIDE.name} has {len(blocks)} blocks; their form has changed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary) / "scratch"
        tools = Path(temporary) / "bin"
        tools.mkdir()
        data(scratch)
        shutil.copy(EXPORTER, scratch)
        for name in ("mar", "marserve"):
            (tools / name).symlink_to(program(name).resolve())
        python = tools / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        script = "set -euo pipefail\ntrap 'marserve --stop > /dev/null 2>&1 || true' EXIT\n"
        for language, text in blocks:
            name = re.match(r"# (\w+\.py)\n", text)
            if language == "sh":
                script += f"set -x\n{text}{{ set +x; }} 2> /dev/null\n"
            elif name:
                (scratch / name[1]).write_text(text, encoding="utf-8")
        step(f"{GUIDE.name}: {len(blocks)} blocks")
        environment = {
            **os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "TMPDIR": temporary,
            "LOG_LOCATION": f"{temporary}/logs",
        }
        ran = subprocess.Popen(
            ["bash", "-c", script], cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        said = ""
        for line in ran.stdout:
            print(line, end="", flush=True)
            said += line
        status = ran.wait()
    missing = [words for words in EXPECTED if words not in said]
    if status != 0 or missing:
        print(f"status {status}, not printed: {missing}", file=sys.stderr)
        return 1
    print(f"{GUIDE.name}: {len(blocks)} blocks ran as written\n1 passed, 0 failed")
    return 0
