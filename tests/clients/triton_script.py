#!/usr/bin/env python3
"""Runs examples/triton_client.py, a script as people have them for Triton, against marserve: no line of it is changed.

usage: triton_script.py

The ports are Triton's own, 8000 to 8002, since such a script names them. Takes the programs that MARSERVE and MAR name,
else the release build.
"""

import io
import json
import socket
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

import repository
from checks import run, same, true
from repository import MEAN, NETWORKS, ROOT, SCENE, STD, lay_out
from served import Server

PORTS = 8000, 8001, 8002
SCRIPT = ROOT / "examples/triton_client.py"


def free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def best():
    """The classes that the script has to name, by numpy."""
    picture = Image.open(io.BytesIO(SCENE)).convert("RGB").resize((224, 224))
    tensor = (np.asarray(picture, np.float32) / 255 - MEAN) / STD
    told = json.loads((NETWORKS / "expected.json").read_text(encoding="utf-8"))["networks"]["classifier"]
    scores = tensor.reshape(-1, 3).mean(axis=0) @ repository.matrix(told)
    return [(int(place), float(scores[place])) for place in np.argsort(-scores)[:5]]


def unchanged(picture):
    done = subprocess.run([sys.executable, SCRIPT, picture], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    same("status", (done.returncode, done.stderr), (0, ""))
    lines = [line.removeprefix("class ").split(": ") for line in done.stdout.splitlines()]
    found = [(int(place), float(score)) for place, score in lines]
    same("classes", [place for place, _ in found], [place for place, _ in best()])
    worst = max(abs(score - right) for (_, score), (_, right) in zip(found, best()))
    true("scores", worst < 1e-3, f"{worst} off")


def main() -> int:
    taken = [port for port in PORTS if not free(port)]
    if taken:
        print(f"triton_script.py needs port {taken[0]}, which another program has: stop it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as store:
        lay_out(store)
        picture = f"{store}/scene.png"
        with open(picture, "wb") as file:
            file.write(SCENE)
        with Server(store, [], "--triton"):
            return run([("a script written for Triton", lambda: unchanged(picture))])


if __name__ == "__main__":
    sys.exit(main())
