#!/usr/bin/env python3
"""Holds the server's descriptions of its ports against the OpenAPI specification.

usage: openapi.py --marserve PROGRAM

Starts the server with an empty model store on free ports, and has each port's description checked by
openapi-spec-validator, a judge that is not ours.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from openapi_spec_validator import validate

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/lib"))
from served import Client, Server  # noqa: E402


def check(url: str) -> None:
    """Fails where the port's description is not what OpenAPI has, or differs between its two places."""
    text = Client(url).ask("GET", "/api-description").body
    if text != Client(url).ask("OPTIONS", "/").body:
        raise ValueError(f"{url}: OPTIONS / and /api-description differ")
    document = json.loads(text)
    validate(document)
    print(f"{url}: {len(document['paths'])} paths, valid OpenAPI {document['openapi']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--marserve", required=True, help="the program", type=Path)
    program = parser.parse_args().marserve.resolve()
    with tempfile.TemporaryDirectory() as store, Server(store, [], program=program) as server:
        ports = (server.inference, server.management, server.metrics)
        for url in ports:
            check(url)
    print(f"{len(ports)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
