#!/usr/bin/env python3
"""Asks the server what its description of the Open Inference Protocol says, and holds the answers against it.

usage: oip_schema.py [--marserve PROGRAM] [--examples N]

Starts the server with the street scenes' model, has Schemathesis make requests from the description of the paths
below /v2, right ones and wrong ones, the same in each run, and fails where an answer is not what the description
says, or a fault of the server. Needs the packages of tests/clients/requirements-schemathesis.txt.
"""

import argparse
import base64
import json
import re
import struct
import subprocess
import sys
import tempfile
import zlib
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
                if path.endswith("/infer"):
                    parameter["example"] = {"model_name": "m@handler", "model_version": "1.0"}[parameter["name"]]
            if path.endswith("/infer"):
                operation["requestBody"]["content"]["application/json"]["example"] = request()
    return document


def request() -> dict:
    """A request that is answered: an image for the model's handler."""
    side = 32
    lines = b"".join(b"\0" + bytes(7 * i % 256 for i in range(3 * side)) for _ in range(side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    image = {
        "name": "data", "shape": [1, 1], "datatype": "BYTES", "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(png).decode()],
    }
    return {"id": "example", "inputs": [image]}


def answered(url: str) -> int:
    """How many requests the model has answered."""
    statistics = Client(url).ask("GET", "/v2/models/m/stats").json()["model_stats"]
    return sum(version["inference_stats"]["success"]["count"] for version in statistics)


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
            # And it serves on, and some of what was asked it answered.
            serves = Client(server.inference).ask("GET", "/v2/models/m/ready").status == 200
            serves = serves and answered(server.inference) >= 2
    passed = status == 0 and serves
    print(f"{len(document['paths'])} passed, 0 failed" if passed else "0 passed, 1 failed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
