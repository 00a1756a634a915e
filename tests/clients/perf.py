#!/usr/bin/env python3
"""Has Triton's perf_analyzer measure the server: over REST, gRPC and in shared memory, and as it measures TorchServe.

usage: perf.py

Short runs, which say that it works, not how fast the server is. Each has to end with a throughput above nothing and,
where the server counts for it, with the server's own account of the time. Takes the programs that MARSERVE and MAR
name, else the release build.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import repository
from checks import holds, run, same, true
from repository import ROOT, served
from served import Client

ROUNDS = ["--measurement-mode", "count_windows", "--measurement-request-count", "20", "--max-trials", "4", "--stability-percentage", "999"]
PICTURES = ["-m", "classifier", "--shape", "input:3,224,224", "-b", "2"]


def analyse(*arguments):
    """What perf_analyzer prints, once it has measured something without an error."""
    command = [ROOT / "scripts/perf_analyzer", *ROUNDS, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise ValueError(f"{' '.join(map(str, arguments))}: status {done.returncode}\n{done.stdout[-3000:]}")
    rates = [float(rate) for rate in re.findall(r"Throughput: ([\d.]+) infer/sec", done.stdout)]
    true("throughput", rates and min(rates) > 0, done.stdout[-3000:])
    return done.stdout


def executed(server):
    return Client(f"http://{server.http}").ask("GET", "/v2/models/classifier/stats").json()["model_stats"][0]["execution_count"]


def over(server, *arguments):
    before = executed(server)
    told = analyse(*PICTURES, *arguments)
    holds("the server's account", told, "Server:", "Inference count:", "Successful request count:", "queue", "compute infer")
    counted = re.search(r"Inference count: (\d+)\n\s+Execution count: (\d+)\n\s+Successful request count: (\d+)", told)
    true("counts", counted, told[-2000:])
    rows, runs, requests = map(int, counted.groups())
    same("rows", rows, 2 * requests)
    # One request is under way at a time: the window may end when its run is counted, and its success is not yet.
    true("runs", 0 < runs <= min(requests + 1, executed(server) - before), f"{runs} runs, {requests} requests")
    true("requests", requests >= 20, f"{requests}")


def torchserve(server):
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "scene.png")
        picture.write_bytes(repository.noise(0)[0])
        inputs = Path(folder, "inputs.json")
        inputs.write_text(json.dumps({"data": [{"TORCHSERVE_INPUT": [str(picture)]}]}), encoding="utf-8")
        analyse("-m", "scenes", "--service-kind", "torchserve", "-u", bare(server.inference), "-i", "http", "--input-data", str(inputs))


def bare(url):
    return url.split("//")[1]


def main() -> int:
    with served() as server:
        http, grpc = ["-i", "http", "-u", server.http], ["-i", "grpc", "-u", server.grpc]
        shared = ["--shared-memory", "system", "--output-shared-memory-size", "8192"]
        cases = {
            "REST": [*http, "--concurrency-range", "1:2"], "gRPC": [*grpc, "--concurrency-range", "1:2"],
            "gRPC, asynchronous": [*grpc, "--async", "--concurrency-range", "4"],
            "gRPC, streams": [*grpc, "--streaming", "--async", "--concurrency-range", "4"],
            "REST, shared memory": [*http, *shared], "gRPC, shared memory": [*grpc, *shared],
        }
        checks = [(name, lambda arguments=arguments: over(server, *arguments)) for name, arguments in cases.items()]
        checks += [("texts", lambda: analyse("-m", "identity_string", "--shape", "INPUT0:4", "--string-length", "16", *grpc))]
        return run([*checks, ("as it asks TorchServe", lambda: torchserve(server))])


if __name__ == "__main__":
    sys.exit(main())
