"""Triton's core, as nvidia-pytriton's wheel has it, with its Python backend that runs ONNX Runtime."""

import ctypes.util
import json
import os
import shutil
import sys
from pathlib import Path

import answers
import pools
from peer import BATCH, Command, Peer, Request, v2_request

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SHARED = 64 << 20  # bytes that a Python process shares with the core from the start: several tensors of 10 MiB
IMAGE = "image"


class PyTriton(Peer):
    title = "Triton (its core from nvidia-pytriton)"

    def packages(self):
        return ["nvidia-pytriton", "onnxruntime", "pillow", "numpy"]

    def missing(self):
        if ctypes.util.find_library(f"python{PYTHON}") is None:
            return f"libpython{PYTHON}, which Triton's Python backend is linked with: apt-get install libpython{PYTHON}"
        return None

    def packaged(self):
        return self.python().parents[1] / f"lib/python{PYTHON}/site-packages"

    def server(self):
        return self.packaged() / "pytriton/tritonserver"

    def after_install(self):
        """The backend's program for this Python goes beside the backend, where pytriton puts it at a start."""
        program = self.server() / f"python_backend_stubs/{PYTHON}/triton_python_backend_stub"
        shutil.copy(program, self.server() / "backends/python")

    def cannot(self, job):
        return None

    def command(self, job, setting, place):
        repository = self.repository(job, setting, place.folder / "models")
        run = [self.server() / "bin/tritonserver", "--model-repository", repository, "--backend-directory", self.server() / "backends",
               "--model-control-mode", "none", "--disable-auto-complete-config", "--http-address", "127.0.0.1", "--http-port", place.port,
               "--http-thread-count", 8, "--allow-grpc", "false", "--allow-metrics", "false", "--log-info", "false",
               "--backend-config", f"python,shm-default-byte-size={SHARED}", "--backend-config", f"python,shm-region-prefix-name=bench{place.port}"]
        libraries = self.packaged() / "nvidia_pytriton.libs"
        environment = {
            **pools.environment(self.spec(job, place), setting),
            "LD_LIBRARY_PATH": str(libraries),
            "PATH": f"{self.python().parent}:{os.environ['PATH']}",
        }
        return Command([str(part) for part in run], environment)

    def repository(self, job, setting, folder):
        """A model repository: one model, or for an image its decoding, the network, and what joins the two."""
        network = tensor(job.network.input, "FP32", job.network.shape)
        if job.is_image():
            image = tensor(IMAGE, "STRING", [1])
            decoders = len(os.sched_getaffinity(0))
            self.model(folder, "pixels", job, image, tensor("pixels", "FP32", job.network.shape), instances(decoders))
            self.model(folder, "network", job, network, answer(job), instances(setting.workers))
            self.model(folder, "served", job, image, answer(job), ensemble(job), code=False)
        else:
            self.model(folder, "served", job, network, answer(job), instances(setting.workers))
        return folder

    def model(self, folder, name, job, taken, given, rest, code=True):
        version = folder / name / "1"
        version.mkdir(parents=True)
        for file in (self.folder / "model.py", Path(pools.__file__).parent / "work.py") if code else ():
            shutil.copy(file, version)  # its Python looks nowhere else for what is not a package
        batch, delay = self.batching(job)
        batching = f"dynamic_batching {{ max_queue_delay_microseconds: {delay * 1000} }}\n" if batch > 1 and code else ""
        text = f'name: "{name}"\nmax_batch_size: {batch}\ninput [ {taken} ]\noutput [ {given} ]\n{batching}{rest}\n'
        (folder / name / "config.pbtxt").write_text(text, encoding="utf-8")

    def request(self, job):
        if job.is_image():
            data = job.body()
            data = len(data).to_bytes(4, "little") + data
            described = {"name": IMAGE, "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
            head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
            return Request("/v2/models/served/infer", head + data, {
                "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))})
        if job.input.wire == "json":
            described = {"name": job.network.input, "shape": [1, *job.input.shape], "datatype": "FP32", "data": job.nested()}
            return Request("/v2/models/served/infer", json.dumps({"inputs": [described]}).encode(), {"Content-Type": "application/json"})
        return v2_request(job, "served")

    def answer(self, job, headers, body):
        if job.answer == "numbers":
            return answers.v2_numbers(body, headers)
        if job.answer == "mask" and job.reply == "json":
            described, parts = answers.v2_binary(body, headers)
            height, width = described["outputs"][0]["shape"][-2:]
            return answers.Mask(height, width, parts["answer"])
        return answers.standard(job, answers.v2_text(body, headers))

    def configuration(self, job, setting):
        steps = f"an ensemble of decoding ({len(os.sched_getaffinity(0))} Python processes) and " if job.is_image() else ""
        batch, delay = self.batching(job)
        batching = f"dynamic batches of {batch} within {delay} ms" if batch > 1 else "no batching"
        sent = "v2 JSON" if not job.is_image() and job.input.wire == "json" else "v2 binary"
        return (f"{steps}{setting.workers} Python process(es) of the network, each an ONNX Runtime session of {setting.threads} thread(s); "
                f"{sent}; no metrics, no gRPC, no log; {batching}")


def tensor(name, kind, sides):
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ {", ".join(str(side) for side in sides)} ] }}'


def answer(job):
    if job.answer == "numbers":
        return tensor("answer", "FP32", [-1])
    return tensor("answer", "UINT8", [-1, -1]) if job.answer == "mask" and job.reply == "json" else tensor("answer", "STRING", [1])


def instances(count):
    return f'backend: "python"\ninstance_group [ {{ count: {count} kind: KIND_CPU }} ]'


def ensemble(job):
    steps = [("pixels", IMAGE, IMAGE, "pixels", "pixels"), ("network", job.network.input, "pixels", "answer", "answer")]
    text = ", ".join(
        f'{{ model_name: "{name}" model_version: -1 input_map {{ key: "{taken}" value: "{source}" }} '
        f'output_map {{ key: "{given}" value: "{target}" }} }}' for name, taken, source, given, target in steps)
    return f'platform: "ensemble"\nensemble_scheduling {{ step [ {text} ] }}'


PEERS = [PyTriton(Path(__file__).parent), PyTriton(Path(__file__).parent, batch=BATCH)]
