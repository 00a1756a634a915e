"""Writes what tests/it/exported.rs reads: small archives with known answers, and more inputs with FastAI's answers.

    archives/NAME.mar   as scripts/export_fastai.py made it
    answers/NAME.json   the versions, then an entry an input: what learn.predict says
    inputs/             the images that the entries name
    masks/              the masks that they name, a byte a pixel
"""

import json
import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from learners import RECIPES
from run import HERE, PACKAGES, exported, prepared, step

FIXTURES = {"label": "crop", "labels": "several", "mask": "mask-narrow", "numbers": "two-numbers", "row": "row-label"}
# Files whose size says more than their pixels.
SKIPPED = ("large.jpg", "plain.bmp")


def main(work: Path) -> int:
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    for part in ("archives", "answers", "inputs", "masks"):
        shutil.rmtree(HERE / part, ignore_errors=True)
        (HERE / part).mkdir()
    for name, learner in FIXTURES.items():
        step(f"{name}: {learner}")
        folder, archive = work / learner, HERE / "archives" / f"{name}.mar"
        problem = prepared(learner, folder) or exported(folder, archive)
        if problem:
            print(f"{name}: {problem}", file=sys.stderr)
            return 1
        answers(name, RECIPES[learner].kind, folder)
    sizes = {file.name: file.stat().st_size for file in sorted((HERE / "archives").iterdir())}
    print(f"archives: {sizes}, {sum(sizes.values())} bytes together")
    return 0


def answers(name: str, kind: str, folder: Path) -> None:
    """The table of one archive, with the files that it names beside it."""
    table = [{"made by": {package: version(package) for package in PACKAGES} | {"Python": platform.python_version()}}]
    for known in json.loads((folder / "answers.json").read_text(encoding="utf-8")):
        source = folder / known["input"]
        if source.name in SKIPPED:
            continue
        if kind.startswith("row"):
            known = {"row": json.loads(source.read_text(encoding="utf-8"))} | known
            del known["input"]
        else:
            shutil.copy(source, HERE / "inputs")
        if "mask" in known:
            shutil.copy(folder / known["mask"], HERE / "masks")
            known["mask"] = f"masks/{Path(known['mask']).name}"
        table.append(known)
    lines = ",\n".join(" " + json.dumps(entry, ensure_ascii=False) for entry in table)
    (HERE / "answers" / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
