"""What no server can be faster than, measured beside them: the bare runtime, and HTTP with nothing behind it."""

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import answers
from jobs import FORMS, ROOT
from peer import Command, Peer


class Empty(Peer):
    """An actix endpoint that reads the same body and answers a few bytes; the crates that marserve serves HTTP with."""

    title = "an empty actix endpoint"

    def __init__(self):
        super().__init__(ROOT / "bench/empty")

    @property
    def name(self):
        return "floor/actix"

    def full_title(self):
        return self.title

    def program(self):
        """`EMPTY_ENDPOINT`, else what is built beside marserve."""
        beside = Path(os.environ.get("MARSERVE", ROOT / "target/release/marserve")).resolve().parent
        return Path(os.environ.get("EMPTY_ENDPOINT", beside / "examples/empty_endpoint"))

    def install(self):
        if "EMPTY_ENDPOINT" not in os.environ and "MARSERVE" not in os.environ:
            subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "-p", "mar-server", "--example", "empty_endpoint"],
                           check=True, cwd=ROOT)

    def missing(self):
        if self.program().exists():
            return None
        return f"there is no {self.program()}: cargo build --release -p mar-server --example empty_endpoint"

    def installed(self):
        return [self.program()]

    def versions(self):
        return {}

    def cannot(self, job):
        return None

    def command(self, job, setting, place):
        return Command([self.program(), place.port])

    def answer(self, job, headers, body):
        """It has none to be right about."""
        return answers.load(job)

    def configuration(self, job, setting):
        return "reads the whole body, answers 2 bytes; as many network threads as marserve"


def loops(marserve, job, setting, seconds):
    """Passes a second of the bare network in each form: `marserve bench-model`, a process a worker, at the same time.

    `marserve` is {form: peer}, which pack. Of a file that a runtime can run in several ways, the fastest counts."""
    return {form: loop(peer, job, setting, seconds) for form, peer in marserve.items() if form in FORMS}


def loop(peer, job, setting, seconds):
    with tempfile.TemporaryDirectory(prefix="bench-loop-") as folder, contextlib.ExitStack() as running:
        archive = peer.pack(job, setting, Path(folder))
        sides = ",".join(str(side) for side in job.network.shape)
        run = [peer.program("marserve"), "bench-model", archive, "--batch-sizes", job.batch, "--threads", setting.threads,
               "--device", "cpu", "--seconds", seconds, "--shape", f"{job.network.input_in(peer.form)}={sides}", "--json"]
        begun = [running.enter_context(subprocess.Popen([str(part) for part in run], stdout=subprocess.PIPE, stderr=subprocess.PIPE))
                 for _ in range(setting.workers)]
        told = [one.communicate() for one in begun]
    passes = []
    for process, (said, problem) in zip(begun, told, strict=True):
        if process.returncode != 0:
            raise RuntimeError(f"bench-model ended with {process.returncode}: {(problem or said).decode(errors='replace')[-2000:]}")
        passes.append(fastest(json.loads(said), job.network.file(peer.form).name))
    return {
        "throughput": sum(job.batch * 1000 / one["milliseconds"]["median"] for one in passes),
        "milliseconds": passes[0]["milliseconds"]["median"],
        "variant": passes[0]["variant"],
    }


def fastest(told, file):
    """Of the rows of one file, the one whose median is the least."""
    rows = [row for row in told.get("rows", []) if row["file"] == file and row.get("milliseconds")]
    if not rows:
        raise RuntimeError(f"bench-model measured nothing of {file}: {json.dumps(told)[:500]}")
    return min(rows, key=lambda row: row["milliseconds"]["median"])
