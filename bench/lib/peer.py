"""A server that is compared: how it is installed, started, asked and read. Standard library alone.

A peer lives in `bench/peers/NAME/`: `peer.py` with a list `PEERS` of instances of a class made from `Peer` (one a form
of the weights that it serves), `requirements.txt` with hashes, what it runs, and a `README.md` of what was tuned and
why. It says which command serves a job; starting, waiting for the first right answer, measuring and stopping are the
same for all, and are done by `running.py`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import answers
from jobs import CACHE, FORMS, ROOT


LARGE = ("fastunet", "resnet18", "averages")  # networks of which one request keeps a core busy
BATCH = (8, 1)  # of entries that batch where the job does not


@dataclass(frozen=True)
class Setting:
    """How much of the machine a server gets: forward passes at once, and threads of each."""

    workers: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes
    headers: dict = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True)
class Command:
    """What serves: a program that stays in the foreground, and dies of a SIGTERM with all that it started."""

    argv: list
    environment: dict = field(default_factory=dict)  # on top of `clean_environment()`


@dataclass(frozen=True)
class Place:
    """Where a server runs: a folder of its own, and free ports of loopback, the first of which answers requests."""

    folder: Path
    ports: tuple

    @property
    def port(self):
        return self.ports[0]

    def write(self, name, text):
        """A file in the folder, and its path."""
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file


class Peer:
    """Override what is the server's own; the rest holds for a Python server that answers as `work.py` does."""

    title = ""  # as its makers write it
    ports = 1  # how many it needs
    path = "/predict"  # where a request goes
    keeps = False  # something in the job's folder by which its next start there is quicker

    def __init__(self, folder, form="onnx", batch=None):
        self.folder = Path(folder)
        self.form = form
        self.batch = batch  # (requests, milliseconds) in place of the job's, for an entry of its own

    @property
    def name(self):
        return f"{self.folder.name}/{self.form}" + ("-batched" if self.batch else "")

    def full_title(self):
        return f"{self.title}, {FORMS[self.form]}" + (f", batches of up to {self.batch[0]}" if self.batch else "")

    def batching(self, job):
        """(requests in a forward pass at most, milliseconds that the oldest waits for others)."""
        return self.batch or (job.batch, job.delay)

    # --- installing

    def requirements(self):
        return self.folder / "requirements.txt"

    def home(self):
        """The folder of its installation, another one for other requirements."""
        pinned = hashlib.sha256(self.requirements().read_bytes() + sys.version.encode()).hexdigest()[:12]
        return CACHE / f"{self.folder.name}-{pinned}"

    def given(self):
        """The Python of an environment of your own that has the packages: `BENCH_PYTHON_TORCHSERVE` names one, and so on."""
        return os.environ.get(f"BENCH_PYTHON_{self.folder.name.upper()}")

    def python(self):
        return Path(self.given() or self.home() / "bin/python")

    def missing(self):
        """What the machine lacks and this cannot install, in words with the command that does; None where it lacks nothing."""
        return None

    def install(self):
        """Installs what is not there. A virtual environment with the pinned packages; `complete` is written last, and
        holds the seconds that it took, downloads included."""
        if self.given() or (self.home() / "complete").exists():
            return
        begun = time.monotonic()
        shutil.rmtree(self.home(), ignore_errors=True)
        self.home().parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", self.home()], check=True, stdout=sys.stderr)
        self.pip("--require-hashes", "--no-deps", "--requirement", self.requirements())
        self.after_install()
        (self.home() / "complete").write_text(f"{time.monotonic() - begun:.1f}\n", encoding="utf-8")

    def install_seconds(self):
        """How long its installation took, with its downloads; None where nobody noted it."""
        complete = self.home() / "complete" if self.requirements().exists() and not self.given() else None
        noted = complete.read_text(encoding="utf-8").strip() if complete and complete.exists() else ""
        return float(noted) if noted else None

    def after_install(self):
        """What is to be done in the new environment beyond its packages."""

    def pip(self, *arguments):
        """`pip install` with these arguments in the environment."""
        subprocess.run([self.python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", *arguments],
                       check=True, stdout=sys.stderr)

    def installed(self):
        """Files and folders whose bytes are the installation."""
        return [self.python().parents[1]]

    def packages(self):
        """Names of the packages whose versions are told in the results."""
        return []

    def versions(self):
        """{what: version} of what is installed."""
        code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
        run = [self.python(), "-c", code, *self.packages()]
        told = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
        return {**told, "Python": sys.version.split()[0]}

    # --- serving

    def belongs(self, job):
        """Whether this entry is worth measuring: batches are, where the way to the network is what costs."""
        return not (self.batch and job.network.name in LARGE)

    def cannot(self, job):
        """Why it cannot do this job, in half a sentence that follows its name; None where it can."""
        if not job.is_image() and job.input.wire == "v2":
            return "speaks no v2 binary tensors"
        return None

    def pack(self, job, setting, folder):
        """Makes in the folder what the server serves, and names it, where that is a step of its own; its time and size are told."""
        return None

    def idle_command(self, setting, place):
        """The `Command` of the server without a model, for what it holds then; None where there is no such thing."""
        return None

    def command(self, job, setting, place):
        """The `Command` that serves the job. `place.folder` holds what `pack` made."""
        raise NotImplementedError

    def base(self, place):
        """The address that requests go to."""
        return f"http://127.0.0.1:{place.port}"

    def spec(self, job, place):
        """A file with all of the job, which `work.Work` reads in the server's process."""
        batch, delay = self.batching(job)
        return place.write("job.json", json.dumps({**job.spec(self.form), "batch": batch, "delay": delay}))

    def request(self, job):
        """The job's request in the form that the server's users would choose."""
        if job.is_image():
            kind = job.input.media_type()
        else:
            kind = "application/json" if job.input.wire == "json" else "application/octet-stream"
        return Request(self.path, job.body(), {"Content-Type": kind})

    def answer(self, job, headers, body):
        """The answer in the job's form: a list of floats, {class: probability} or a `Mask`. Header names are lower-case."""
        return answers.standard(job, body)

    def configuration(self, job, setting):
        """What it was configured to and differs from its defaults, in lines of text that the results print."""
        raise NotImplementedError


def v2_request(job, model, input_name=None, **parameters):
    """A tensor as the Open Inference Protocol's binary form has it."""
    name = input_name or job.network.input
    data = job.body()
    tensor = {"name": name, "shape": [1, *job.input.shape], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    head = {"inputs": [tensor], "parameters": {"binary_data_output": True, **parameters}}
    text = json.dumps(head).encode()
    return Request(f"/v2/models/{model}/infer", text + data,
                   {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))})


def clean_environment(setting):
    """What every server's process is given: no telemetry, no more threads than the setting says, this bench's modules."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "LIBTORCH", "ORT_DYLIB_PATH") if name in os.environ}
    threads = {name: str(setting.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**kept, **threads, "PYTHONPATH": str(ROOT / "bench/lib"), "PYTHONDONTWRITEBYTECODE": "1", "DO_NOT_TRACK": "1"}


def discover(folder=ROOT / "bench/peers"):
    """Every peer, by name; a folder's `peer.py` is loaded as a module of that folder's name."""
    import importlib.util

    found = {}
    for file in sorted(folder.glob("*/peer.py")):
        told = importlib.util.spec_from_file_location(f"peer_{file.parent.name}", file)
        module = importlib.util.module_from_spec(told)
        told.loader.exec_module(module)
        found.update({peer.name: peer for peer in module.PEERS})
    return found
