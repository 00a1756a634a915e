"""Trains, exports, checks, serves and compares every learner, and prints what came of it.

`scripts/parity` makes the environment and the programs that this needs, and starts it; its flags are described there.
"""

import argparse
import datetime
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from compare import Tally
from serve import ROOT, Asked, Server

HERE = Path(__file__).resolve().parent
EXPORTER = ROOT / "scripts/export_fastai.py"
SOURCES = ("learners.py", "networks.py", "pictures.py", "rows.py", "truth.py")
PACKAGES = ("fastai", "torch", "torchvision", "Pillow", "pandas")
TIMEOUT = 1200


@dataclass
class Row:
    """What came of one learner."""

    name: str
    recipe: object
    tally: Tally = field(default_factory=Tally)
    missed: list[str] = field(default_factory=list)
    check: str = "-"
    batch: str = "-"

    @property
    def all_missed(self) -> list[str]:
        return self.missed + self.tally.missed

    @property
    def verdict(self) -> str:
        return "differs" if self.all_missed else "equal"

    def cells(self) -> list[str]:
        t = self.tally
        return [
            self.name, self.recipe.kind, self.recipe.resize, self.recipe.normalise, str(t.inputs), f"{t.same}/{t.inputs}",
            "-" if t.worst is None else f"{t.worst:.1e}" if t.worst else "0",
            "-" if t.agreement is None else f"{100 * t.agreement:.3f} %", self.batch, self.check, self.verdict,
        ]


HEADER = [
    "learner", "answer", "resize", "normalise", "inputs", "identical", "worst difference", "worst mask", "batch of 8",
    "check", "verdict",
]


def step(*words: object) -> None:
    print(f"[{time.strftime('%H:%M:%S')}]", *words, flush=True)


def run(command: list, **more) -> subprocess.CompletedProcess:
    path = os.pathsep.join(part for part in (str(HERE), os.environ.get("PYTHONPATH")) if part)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT,
        check=False, env=environment, **more,
    )


def digest() -> str:
    """Of everything that a learner and its answers follow from."""
    whole = hashlib.sha256(" ".join(version(name) for name in PACKAGES).encode())
    for source in SOURCES:
        whole.update((HERE / source).read_bytes())
    return whole.hexdigest()


def prepared(name: str, folder: Path) -> str | None:
    """Trains a learner and asks it, unless that was done before; returns what went wrong."""
    made, now = folder / "made", digest()
    if made.exists() and made.read_text() == now:
        return None
    ran = run([sys.executable, HERE / "truth.py", name, folder])
    if ran.returncode != 0:
        return f"training: {tail(ran.stdout)}"
    made.write_text(now)
    return None


def exported(folder: Path, archive: Path, form: str = "torchscript") -> str | None:
    """Makes the archive with the exporter that people use, of a network in this form; returns what went wrong."""
    samples = [part for sample in sorted((folder / "samples").iterdir()) for part in ("--sample", sample)]
    ran = run([
        sys.executable, EXPORTER, folder / "export.pkl", "--code", HERE / "learners.py", *samples, "--out", archive,
        "--mar", program("mar"), "--format", form, "--force",
    ])
    (folder / "export.log").write_text(ran.stdout)
    return None if ran.returncode == 0 else f"export: {tail(ran.stdout)}"


def checked(archive: Path) -> tuple[str, str | None]:
    """What `marserve check` says in a word, and what of it was not expected."""
    ran = run([program("marserve"), "check", archive])
    word = {0: "reproduced", 1: "differs"}.get(ran.returncode, f"status {ran.returncode}")
    return word, None if ran.returncode == 0 else f"check: {tail(ran.stdout)}"


def program(name: str) -> Path:
    return Path(os.environ.get(name.upper(), ROOT / "target/release" / name))


def tail(text: str, lines: int = 3) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])


def compared(rows: list[Row], work: Path, store: Path) -> None:
    """Serves every archive that there is in one server, first alone, then in batches."""
    there = [row for row in rows if (store / f"{row.name}.mar").exists()]
    if not there:
        return
    models = [f"{row.name}.mar" for row in there]
    with Server(store, models, "--enable-model-api", "--strict") as server:
        for row in there:
            asked = Asked(server, row.name, row.recipe.kind, work / row.name)
            row.tally = asked.alone()
            found = asked.batched()
            row.batch = "differs" if found else "equal"
            row.missed += found
            step(row.name, row.verdict)


def table(rows: list[Row]) -> str:
    lines = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def markdown(rows: list[Row]) -> str:
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        f"Made by `scripts/parity` on {datetime.date.today()}: {found}, Python {platform.python_version()}, on the processor.",
        "", "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER),
    ]
    return "\n".join(lines + ["| " + " | ".join(row.cells()) + " |" for row in rows]) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="parity", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these learners alone")
    parser.add_argument("--format", choices=["torchscript", "onnx", "both"], default="torchscript", help="of the networks' files")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there and leave it; what is there is not made again")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, for the guide")
    parser.add_argument("--fixtures", action="store_true", help="make the small archives and tables that tests read, and no more")
    parser.add_argument("--guide", action="store_true", help="run the commands of docs/from-fastai.md, and no more")
    return parser.parse_args()


def all_learners(args: argparse.Namespace, work: Path) -> int:
    from learners import RECIPES

    unknown = set(args.only or ()) - set(RECIPES)
    if unknown:
        print(f"parity: no learner {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}", file=sys.stderr)
        return 2
    store = work / "model_store"
    store.mkdir(parents=True, exist_ok=True)
    rows = [Row(name, recipe) for name, recipe in RECIPES.items() if not args.only or name in args.only]
    for number, row in enumerate(rows, 1):
        step(f"{number}/{len(rows)} {row.name}: train, export, check")
        archive = store / f"{row.name}.mar"
        archive.unlink(missing_ok=True)
        problem = prepared(row.name, work / row.name) or exported(work / row.name, archive, args.format)
        if problem:
            row.missed.append(problem)
            continue
        row.check, problem = checked(archive)
        row.missed += [problem] if problem else []
    step("serve all of them")
    compared(rows, work, store)
    print(f"\n{table(rows)}\n")
    for row in rows:
        for what in row.all_missed[:5]:
            print(f"{row.name}: {what}")
        if len(row.all_missed) > 5:
            print(f"{row.name}: and {len(row.all_missed) - 5} more")
    if args.markdown:
        args.markdown.write_text(markdown(rows), encoding="utf-8")
    bad = sum(bool(row.all_missed) for row in rows)
    print(f"{len(rows) - bad} passed, {bad} failed")
    return 1 if bad else 0


def main() -> int:
    args = arguments()
    if args.guide:
        import guide

        return guide.main()
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.keep or Path(temporary)).resolve()
        if args.fixtures:
            import fixtures

            return fixtures.main(work)
        return all_learners(args, work)


if __name__ == "__main__":
    sys.exit(main())
