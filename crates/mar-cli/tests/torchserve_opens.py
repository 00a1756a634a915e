#!/usr/bin/env python3
"""Serves archives made by `mar pack` with a real TorchServe 0.12 and asks it for predictions.

usage: torchserve_opens.py --mar PATH_TO_MAR [--torchserve PYTHON]

Run by hand, not by the test suite: it needs Java 17 or newer and a Python with torch and
torchserve==0.12.0 (--torchserve, by default the one that runs this). TorchServe reads a .mar as a
stream of local headers, so this shows what no other reader of zips does. Every form of archive is
registered, asked, and must send the request back with what it read from its files. The server runs in
a temporary folder on free ports and is ended by its process group; every wait has an end.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE = 120  # seconds for the server to start, and for one model to load
FORMS = {"default": "zipped.mar", "zip-store": "stored.mar", "tgz": "tarred.tar.gz",
         "no-archive": "folder"}
HANDLER = '''
import os, zlib

def handle(data, context):
    if data is None:
        return None
    root = context.system_properties["model_dir"]
    weights = os.path.join(root, context.manifest["model"]["serializedFile"])
    with open(weights, "rb") as file:
        crc = zlib.crc32(file.read())
    with open(os.path.join(root, "vocab", "words.txt"), encoding="utf-8") as file:
        words = file.read().split()
    config = context.model_yaml_config["handler"]["greeting"]
    return [{"body": bytes(row.get("body")).decode(), "crc": crc, "words": words,
             "greeting": config} for row in data]
'''


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ask(url, body=None, method="GET"):
    # Without a type, urllib says that it is a form, and TorchServe would read it as one.
    headers = {"content-type": "application/octet-stream"}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_until_up(server, url):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise SystemExit(f"torchserve ended with {server.returncode}")
        try:
            if ask(url)[0] == 200:
                return
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            pass
        time.sleep(0.2)
    raise SystemExit(f"torchserve did not answer in {PATIENCE} s")


def make_archives(mar, work):
    (work / "code/vocab").mkdir(parents=True)
    (work / "store").mkdir()
    (work / "code/echo.py").write_text(HANDLER)
    (work / "extra/vocab").mkdir(parents=True)
    (work / "extra/vocab/words.txt").write_text("grüße sky road", encoding="utf-8")
    (work / "model-config.yaml").write_text("minWorkers: 1\nmaxWorkers: 1\nhandler:\n  greeting: hi\n")
    (work / "weights.pt").write_bytes(os.urandom(3_000_000))
    for form, file in FORMS.items():
        name = file.split(".")[0]
        subprocess.run(
            [mar, "pack", "--model-name", name, "-v", "1.0", "--handler", "code/echo:handle",
             "--serialized-file", "weights.pt", "--extra-files", "extra", "-c", "model-config.yaml",
             "--export-path", "store", "--archive-format", form], cwd=work, check=True)


def start(python, work):
    ports = free_ports(5)
    keys = ["inference_address", "management_address", "metrics_address"]
    lines = [f"{key}=http://127.0.0.1:{port}" for key, port in zip(keys, ports)]
    lines += [f"grpc_inference_port={ports[3]}", f"grpc_management_port={ports[4]}"]
    lines += ["disable_token_authorization=true", "enable_model_api=true"]
    (work / "config.properties").write_text("\n".join(lines) + "\n")
    (work / "tmp").mkdir()
    env = {**os.environ, "TEMP": str(work / "tmp"), "TMPDIR": str(work / "tmp"),
           "LOG_LOCATION": str(work / "logs"), "METRICS_LOCATION": str(work / "logs"),
           "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    log = open(work / "server.log", "w")
    program = "from ts.model_server import start; start()"
    server = subprocess.Popen(
        [python, "-c", program, "--start", "--foreground", "--ncs", "--model-store", "store",
         "--ts-config", "config.properties"],
        cwd=work, env=env, stdout=log, stderr=log, start_new_session=True)
    return server, ports


def check(work, ports):
    import zlib
    crc = zlib.crc32((work / "weights.pt").read_bytes())
    expected = {"body": "hello", "crc": crc, "words": ["grüße", "sky", "road"], "greeting": "hi"}
    failures = 0
    for form, file in FORMS.items():
        name = file.split(".")[0]
        url = f"http://127.0.0.1:{ports[1]}/models?url={file}&model_name={name}&initial_workers=1"
        status, text = ask(url + "&synchronous=true", b"", "POST")
        if status == 200:
            url = f"http://127.0.0.1:{ports[0]}/predictions/{name}/1.0"
            status, text = ask(url, b"hello", "POST")
        good = status == 200 and json.loads(text) == expected
        failures += not good
        print(f"{'ok' if good else 'FAILED':6}  {form}{'' if good else f': {status} {text}'}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mar", required=True, type=Path, help="the mar binary")
    parser.add_argument("--torchserve", default=sys.executable, help="a Python with torchserve")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_archives(options.mar.resolve(), work)
        server, ports = start(options.torchserve, work)
        try:
            wait_until_up(server, f"http://127.0.0.1:{ports[0]}/ping")
            failures = check(work, ports)
        except BaseException:
            print((work / "server.log").read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(timeout=PATIENCE)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
