#!/usr/bin/env python3
"""Asks the server what its description of the Open Inference Protocol says, and holds the answers against it.

usage: oip_schema.py [--marserve PROGRAM] [--examples N]

Starts the server with the street scenes' model, has Schemathesis make requests from the description of the paths
below /v2, right ones and wrong ones, the same in each run, and fails where an answer is not what the description
says, or a fault of the server. Needs the packages of tests/clients/requirements-schemathesis.txt.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/lib"))
from served import Client, Server, binary, pack  # noqa: E402

# What is held against the description. That a request which a schema allows is accepted is not: a schema does not
# know what a model takes.
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "allow_header_conformance",
]
# 501 is an answer where something is not to be had, and described there.
CONFIGURATION = """
[[operations]]
include-path-regex = "trace/setting$"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "501"]

[[operations]]
include-path-regex = "/(load|unload)$"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "501"]
"""
# Names that requests are made with: most random ones are nobody's.
SERVING = ["m", "m@handler", "nobody", "a b/c%"]
# Others, so that what is asked of those is not a question of what was unloaded before.
LOADED = ["spare", "nobody"]


def described(url: str) -> dict:
    """The description of the paths below /v2, with names that there are."""
    document = Client(url).ask("GET", "/api-description").json()
    document["paths"] = {path: item for path, item in document["paths"].items() if re.match(r"/v2(/|$)", path)}
    for path, item in document["paths"].items():
        names = {
            "model_name": LOADED if path.startswith("/v2/repository") else SERVING,
            "model_version": ["1.0", "1", "2", "x"],
            "region_name": ["r", "s"],
        }
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"]["enum"] = names[parameter["name"]]
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--marserve", default=binary("marserve"), help="the program, with libtorch", type=Path)
    parser.add_argument("--examples", default=20, help="requests of each kind at most", type=int)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, work = Path(folder) / "store", Path(folder) / "work"
        store.mkdir()
        work.mkdir()
        for name in ["m", "spare"]:
            pack(store, name, "handler: {}\n")
        flags = ["--enable-model-api", "--disable-token-auth"]
        with Server(store, ["m=m.mar"], *flags, program=asked.marserve.resolve()) as server:
            document = described(server.inference)
            (work / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
            (work / "schemathesis.toml").write_text(CONFIGURATION, encoding="utf-8")
            command = [
                sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
                "run", "openapi.json", "--url", server.inference, "--checks", ",".join(CHECKS), "--phases",
                "examples,coverage,fuzzing", "--max-examples", str(asked.examples), "--seed", "1", "--no-color",
                "--generation-database", "none", "--suppress-health-check", "all", "--continue-on-failure",
            ]
            status = subprocess.run(command, cwd=work, check=False).returncode
            serves = Client(server.inference).ask("GET", "/v2/models/m/ready").status == 200
    passed = status == 0 and serves
    print(f"{len(document['paths'])} passed, 0 failed" if passed else "0 passed, 1 failed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
