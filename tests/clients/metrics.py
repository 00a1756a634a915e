#!/usr/bin/env python3
"""Has Prometheus' own parser read the server's metrics.

usage: metrics.py --marserve PROGRAM

Starts the server on free ports with a model that does not load, which every build can do, asks it a few things,
and reads its page with prometheus_client.parser, which is not ours: every family must have its type and help,
and the counts must be those of the requests.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/lib"))
from served import Client, Server  # noqa: E402

MANIFEST = {"runtime": "python", "model": {"modelName": "m", "modelVersion": "1.0", "handler": "nobody"}}


def check(inference: str, metrics: str) -> None:
    """Fails where the parser refuses the page or reads something else from it than what happened."""
    for path, status in (("/livez", 200), ("/predictions/none", 404), ("/predictions/m", 503)):
        if Client(inference).ask("GET", path).status != status:
            raise ValueError(f"{path} was not answered with {status}")
    page = Client(metrics).ask("GET", "/metrics")
    content_type, text = page.headers["content-type"], page.body.decode()
    if (page.status, content_type) != (200, "text/plain; version=0.0.4; charset=utf-8"):
        raise ValueError(f"{metrics}: status {page.status}, {content_type}")
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
    chosen = Client(metrics).ask("GET", "/metrics?name[]=Requests4XX").body.decode()
    if [family.name for family in text_string_to_metric_families(chosen)] != ["Requests4XX"]:
        raise ValueError(f"name[] chose {chosen}")
    print(f"{metrics}: {len(families)} families, {len(samples)} samples")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--marserve", required=True, help="the program", type=Path)
    program = parser.parse_args().marserve.resolve()
    with tempfile.TemporaryDirectory() as store:
        manifest = Path(store, "m", "MAR-INF", "MANIFEST.json")
        manifest.parent.mkdir(parents=True)
        manifest.write_text(json.dumps(MANIFEST), encoding="utf-8")
        with Server(store, ["m"], program=program) as server:
            check(server.inference, server.metrics)
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
