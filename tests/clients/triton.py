#!/usr/bin/env python3
"""Has Triton's own clients, over REST and gRPC, waiting and asynchronous, use everything that the server offers them.

usage: triton.py [WORD...]

Serves a Triton repository and an archive from one model store, on free ports. One list of checks is made with each of
the four clients, then those of streams and of time-outs; with WORDs, those whose name has all of them. Takes the
programs that MARSERVE and MAR name, else the release build.
"""

import sys
import tempfile
from functools import partial

import triton_about
import triton_tensors
import triton_waiting
from checks import run
from repository import Triton, lay_out
from triton_clients import faces


def chosen(checks):
    return [(name, check) for name, check in checks if all(word in name for word in sys.argv[1:])]


def named(prefix, checks, *arguments):
    return chosen((f"{prefix}: {check.__name__}", partial(check, *arguments)) for check in checks)


def main() -> int:
    status = 0
    with tempfile.TemporaryDirectory() as store:
        lay_out(store)
        with Triton(store) as server:
            for face in faces(server):
                status |= run(named(face.name, triton_about.ALL + triton_tensors.ALL, face, server))
            status |= run(named("triton", triton_waiting.ALL, server))
        with Triton(store, "--model-control-mode", "explicit", "--load-model", "simple") as server:
            for face in faces(server):
                status |= run(named(f"explicit, {face.name}", [triton_about.control], face, server))
        explicit = ["--model-control-mode", "explicit", "--load-model", "identity_fp32"]
        with Triton(store, *explicit, environment={"MARSERVE_API_KEY": triton_about.KEY}) as server:
            for face in faces(server):
                status |= run(named(f"with a key, {face.name}", [triton_about.keys], face, server))
    return status


if __name__ == "__main__":
    sys.exit(main())
