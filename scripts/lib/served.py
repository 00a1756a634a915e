"""A marserve of its own for a script: started on free ports, asked, stopped. Standard library alone."""

import http.client
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FREE = "http://127.0.0.1:0"


def binary(name):
    """The path of a built program: the variable of its name in capitals, else the release build's."""
    return Path(os.environ.get(name.upper(), ROOT / "target/release" / name)).resolve()


def build():
    """Makes the release build, unless `MARSERVE` and `MAR` name what is built."""
    if "MARSERVE" not in os.environ:
        subprocess.run([ROOT / "scripts/setup"], check=True, stdout=sys.stderr)
        subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "-p", "mar-cli", "-p", "marserve", "--bins"],
                       check=True, cwd=ROOT)


def version():
    """What the server calls itself."""
    run = [binary("marserve"), "--version"]
    return subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def processor():
    """What the machine's processor is called."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def pack(store, name, config, weights=ROOT / "examples/street_scenes/fastunet.pt", handler="mask_segmenter", *flags):
    """Packs weights, by default the example's, with this `model-config.yaml`, given as text, and more flags."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model-config.yaml"
        file.write_text(config, encoding="utf-8")
        subprocess.run(
            [binary("mar"), "pack", "--model-name", name, "--version", "1.0", "--handler", handler,
             "--serialized-file", weights, "--config-file", file, "--export-path", store, "--force", *flags],
            check=True, stdout=subprocess.DEVNULL,
        )


class Answer:
    """Status, headers with lower-case names, body."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Client:
    """One connection, kept and opened anew where the server closed it."""

    def __init__(self, url, timeout=300):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.timeout = parts.hostname, parts.port, timeout
        self.connection = None

    def ask(self, method, path, body=None, headers=None):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            self.connection.request(method, path, body=body, headers=headers or {})
            answer = Answer(self.connection.getresponse())
        except (ConnectionError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            raise
        if answer.headers.get("connection") == "close":
            self.connection.close()
            self.connection = None
        return answer


class Server:
    """marserve in the foreground, in a temporary folder of its own."""

    def __init__(self, store, models, *flags, program=None, environment=None):
        self.temp = tempfile.TemporaryDirectory()
        environment = {**os.environ, "XDG_CACHE_HOME": self.temp.name, **(environment or {}), "TMPDIR": self.temp.name, "LOG_LOCATION": self.temp.name}
        self.log = Path(self.temp.name) / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program or binary("marserve"), "--foreground", "--ncs", "--model-store", store,
                 *(["--models", *models] if models else []), "--inference-address", FREE, "--management-address", FREE, "--metrics-address", FREE, "--grpc-inference-port", "0", "--grpc-management-port", "0", *flags],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if self.said[-1] == "Model server started.":
                break
        else:
            status = self.process.wait()
            raise RuntimeError(f"marserve ended with {status}:\n{self.log.read_text()[-3000:]}")
        self.inference = self.find("predictions on")
        self.management = self.find("management on")
        self.metrics = self.find("metrics on")

    def find(self, words):
        """The address at the end of the line that starts with these words."""
        return next(line.split()[-1] for line in self.said if line.startswith(words))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=120)
        self.process.stdout.close()
        self.temp.cleanup()

    def predict(self, model, body):
        return Client(self.inference).ask("POST", f"/predictions/{model}", body)

    def manage(self, method, path):
        return Client(self.management).ask(method, path)

    def describe(self, model):
        return self.manage("GET", f"/models/{model}").json()[0]

    def resident(self):
        """Resident memory of the server in bytes, after it has given back what it can."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def figures(self):
        return figures(self.metrics)


def figures(url):
    """The samples of a metrics page: name to labels to value."""
    text = Client(url).ask("GET", "/metrics").body.decode()
    found = {}
    for line in text.splitlines():
        sample = re.fullmatch(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
        if sample and not line.startswith("#"):
            name, labels, value = sample.groups()
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            found.setdefault(name, []).append((labels, float(value)))
    return found


def total(found, name, **labels):
    """The sum of a name's samples that have these labels."""
    fits = lambda of: all(of.get(key) == value for key, value in labels.items())
    return sum(value for of, value in found.get(name, []) if fits(of))


class Load:
    """Closed-loop clients: each sends its next request once it has the answer to the last."""

    def __init__(self, url, path, bodies, clients, seconds=None, requests=None):
        self.url, self.path, self.bodies = url, path, bodies
        self.clients, self.seconds, self.requests = clients, seconds, requests
        self.answers = []
        self.lock = threading.Lock()

    def run(self):
        """(status, seconds, body) of every answer; a status of 0 is a connection that broke."""
        self.end = time.monotonic() + self.seconds if self.seconds else None
        self.left = self.requests
        self.began = time.monotonic()
        with ThreadPoolExecutor(self.clients) as pool:
            list(pool.map(self.client, range(self.clients)))
        self.took = time.monotonic() - self.began
        return self.answers

    def more(self):
        with self.lock:
            if self.left is not None:
                self.left -= 1
                return self.left >= 0
        return time.monotonic() < self.end

    def client(self, number):
        client, mine = Client(self.url), []
        while self.more():
            body = self.bodies[(number + len(mine)) % len(self.bodies)]
            begun = time.monotonic()
            try:
                answer = client.ask("POST", self.path, body)
                mine.append((answer.status, time.monotonic() - begun, answer.body))
            except (ConnectionError, http.client.HTTPException, TimeoutError):
                mine.append((0, time.monotonic() - begun, b""))
        with self.lock:
            self.answers += mine
