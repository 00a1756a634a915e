"""The load: `oha`, a public load generator, and what it saw. Standard library alone.

oha tells its totals as JSON and each answer in a database of its own, from which everything here is counted: how long
each took, and its status. A request that got no answer is an error of oha's, by its name; nothing is left out.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jobs import CACHE

VERSION = "1.16.0"
HOME = CACHE / f"oha-{VERSION}"
LIMIT = 0.1  # seconds within which an answer is good
OPEN_CONNECTIONS = 256  # of an open loop: more than wait at a rate that a server can hold


@dataclass(frozen=True)
class Load:
    """How requests are sent: `clients` each wait for their answer, or `rate` a second come whatever is answered."""

    seconds: float
    clients: int = 1
    rate: float | None = None

    @property
    def name(self):
        return f"closed-{self.clients}" if self.rate is None else f"open-{self.rate:g}"


def program():
    return os.environ.get("OHA") or HOME / "bin/oha"


def install():
    """Builds oha into the cache where it is not there; `OHA` names one of your own."""
    if "OHA" in os.environ or (HOME / "bin/oha").exists():
        return
    subprocess.run(["cargo", "install", "--quiet", "--locked", "--version", VERSION, "--root", HOME, "oha"], check=True, stdout=sys.stderr)


def arguments(url, request, body, load, database):
    """oha's command line. It waits for the answers that are under way at the end, so that slow ones are counted too."""
    run = [str(program()), "--no-tui", "--output-format", "json", "--db-url", str(database), "--redirect", "0", "--disable-compression",
           "-z", f"{max(1, round(load.seconds * 1000))}ms", "-w", "-m", request.method, "-D", str(body)]
    for name, value in request.headers.items():
        run += ["-T", value] if name.lower() == "content-type" else ["-H", f"{name}: {value}"]
    if load.rate is None:
        return [*run, "-c", str(load.clients), url]
    return [*run, "-c", str(OPEN_CONNECTIONS), "-q", f"{load.rate:g}", "--latency-correction", url]


def send(server, load):
    """Loads a server and tells what came of it: see `seen`."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        body, database = Path(folder) / "body", Path(folder) / "answers"
        body.write_bytes(server.request.body)
        run = subprocess.run(arguments(server.url(), server.request, body, load, database), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if run.returncode != 0:
            raise RuntimeError(f"oha ended with {run.returncode}: {run.stderr.decode(errors='replace')[-2000:]}")
        return seen(json.loads(run.stdout), rows(database))


def rows(database):
    """(status, seconds) of every answer. Where there was none, oha makes no table."""
    connection = sqlite3.connect(database)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'oha'").fetchone():
            return []
        return connection.execute("SELECT status, duration FROM oha").fetchall()
    finally:
        connection.close()


def seen(told, answered):
    """Figures of one run, out of oha's JSON and of its answers: rates are a second, times are milliseconds."""
    took = told["summary"]["total"]
    statuses = Counter(status for status, _ in answered)
    counted = {int(status): count for status, count in told["statusCodeDistribution"].items()}
    if dict(statuses) != counted:
        raise RuntimeError(f"oha counts {counted} answers by status, and kept {dict(statuses)}")
    times = sorted(seconds for status, seconds in answered if status == 200)
    errors = dict(told["errorDistribution"])
    return {
        "seconds": took,
        "answers": len(times),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "errors": errors,
        "failed": len(answered) - len(times) + sum(errors.values()),
        "throughput": len(times) / took,
        "goodput": sum(seconds <= LIMIT for seconds in times) / took,
        **{f"p{part:g}": 1000 * quantile(times, part / 100) if times else None for part in (50, 90, 99, 99.9)},
        "slowest": 1000 * times[-1] if times else None,
    }


def quantile(ordered, part):
    """Of sorted values, the smallest that this part of them does not exceed."""
    at = -(-part * len(ordered) // 1)
    return ordered[max(0, min(len(ordered), int(at)) - 1)]
