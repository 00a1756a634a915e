#!/usr/bin/env python3
"""Holds the server's descriptions of its ports against the OpenAPI specification.

usage: openapi.py --marserve PROGRAM

Starts the server with an empty model store on free ports, and has each port's description checked by
openapi-spec-validator, a judge that is not ours.
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
from urllib.request import ProxyHandler, Request, build_opener

from openapi_spec_validator import validate

ANNOUNCED = re.compile(r"^\w+ on (http://\S+)$")
STARTED = "Model server started."

# The server is on this machine, whatever proxy the environment names.
CLIENT = build_opener(ProxyHandler({}))


def fetch(url: str, method: str) -> bytes:
    with CLIENT.open(Request(url, method=method), timeout=30) as answer:
        return answer.read()


def check(url: str) -> None:
    """Fails where the port's description is not what OpenAPI has, or differs between its two places."""
    text = fetch(f"{url}/api-description", "GET")
    if text != fetch(f"{url}/", "OPTIONS"):
        raise ValueError(f"{url}: OPTIONS / and /api-description differ")
    document = json.loads(text)
    validate(document)
    print(f"{url}: {len(document['paths'])} paths, valid OpenAPI {document['openapi']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--marserve", required=True, help="the program")
    program = Path(parser.parse_args().marserve).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        command = [str(program), "--foreground", "--model-store", temporary]
        for port in ("inference", "management"):
            command += [f"--{port}-address", "http://127.0.0.1:0"]
        # A temporary folder of its own keeps it from a server that somebody runs here.
        environment = {**os.environ, "TMPDIR": temporary, "RUST_LOG": "warn"}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=temporary, env=environment)
        try:
            urls = []
            for line in server.stdout:
                if announced := ANNOUNCED.match(line.strip()):
                    urls.append(announced[1])
                if STARTED in line:
                    break
            if len(urls) < 2:
                print(f"{program} announced {urls}, not its ports", file=sys.stderr)
                return 1
            for url in urls:
                check(url)
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
    print(f"{len(urls)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
