#!/usr/bin/env python3
"""Has Prometheus' own parser read the server's metrics.

usage: metrics.py --marserve PROGRAM

Starts the server on free ports with a model that does not load, which every build can do, asks it a few things,
and reads its page with prometheus_client.parser, which is not ours: every family must have its type and help,
and the counts must be those of the requests.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

ANNOUNCED = re.compile(r"^(\w+) on (http://\S+)$")
STARTED = "Model server started."
MANIFEST = {"runtime": "python", "model": {"modelName": "m", "modelVersion": "1.0", "handler": "nobody"}}

# The server is on this machine, whatever proxy the environment names.
CLIENT = build_opener(ProxyHandler({}))


def fetch(url: str) -> tuple[int, str, str]:
    """Status, content type and body, whatever the status."""
    try:
        with CLIENT.open(url, timeout=30) as answer:
            return answer.status, answer.headers.get("content-type", ""), answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers.get("content-type", ""), error.read().decode()


def check(inference: str, metrics: str) -> None:
    """Fails where the parser refuses the page or reads something else from it than what happened."""
    for path, status in (("/livez", 200), ("/predictions/none", 404), ("/predictions/m", 503)):
        if fetch(f"{inference}{path}")[0] != status:
            raise ValueError(f"{path} was not answered with {status}")
    status, content_type, text = fetch(f"{metrics}/metrics")
    if (status, content_type) != (200, "text/plain; version=0.0.4; charset=utf-8"):
        raise ValueError(f"{metrics}: status {status}, {content_type}")
    families = list(text_string_to_metric_families(text))
    samples = {}
    for family in families:
        if family.type not in ("counter", "gauge", "histogram") or not family.documentation:
            raise ValueError(f"{family.name} is {family.type}: {family.documentation!r}")
        for sample in family.samples:
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    written = [line for line in text.splitlines() if not line.startswith("#")]
    if len(samples) != len(written) or len(families) != text.count("# TYPE "):
        raise ValueError(f"{len(samples)} samples in {len(written)} lines, {len(families)} families")
    # The parser's families have their names as written; to its samples of counters it adds _total.
    replies = [family for family in families if family.name.startswith("Requests")]
    counts = {family.name: sample.value for family in replies for sample in family.samples}
    if counts != {"Requests2XX": 1.0, "Requests4XX": 1.0, "Requests5XX": 1.0}:
        raise ValueError(f"counted {counts}")
    version = {"model_name": "m", "model_version": "1.0"}
    for name, more, value in (
        ("marserve_model_state", {"state": "FAILED"}, 1.0),
        ("marserve_requests_refused_total", {"code": "unavailable"}, 1.0),
        ("marserve_batch_size_bucket", {"le": "+Inf"}, 0.0),
    ):
        if samples.get((name, tuple(sorted({**version, **more}.items())))) != value:
            raise ValueError(f"{name} {more} is not {value} in\n{text}")
    _, _, chosen = fetch(f"{metrics}/metrics?name[]=Requests4XX")
    if [family.name for family in text_string_to_metric_families(chosen)] != ["Requests4XX"]:
        raise ValueError(f"name[] chose {chosen}")
    print(f"{metrics}: {len(families)} families, {len(samples)} samples")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--marserve", required=True, help="the program")
    program = Path(parser.parse_args().marserve).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary, "store")
        manifest = store / "m" / "MAR-INF" / "MANIFEST.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text(json.dumps(MANIFEST), encoding="utf-8")
        command = [str(program), "--foreground", "--model-store", str(store), "--models", "m"]
        for port in ("inference", "management", "metrics"):
            command += [f"--{port}-address", "http://127.0.0.1:0"]
        # A temporary folder of its own keeps it from a server that somebody runs here.
        environment = {**os.environ, "TMPDIR": temporary, "RUST_LOG": "off"}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=temporary, env=environment)
        try:
            urls = {}
            for line in server.stdout:
                if announced := ANNOUNCED.match(line.strip()):
                    urls[announced[1]] = announced[2]
                if STARTED in line:
                    break
            if not {"predictions", "metrics"} <= urls.keys():
                print(f"{program} announced {urls}, not its ports", file=sys.stderr)
                return 1
            check(urls["predictions"], urls["metrics"])
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
