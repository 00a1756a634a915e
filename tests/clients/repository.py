"""A Triton repository and an archive in one model store, and a marserve that serves them to Triton's clients.

The networks are those of tests/parity/onnx, whose answers are known; the archive is the street scenes' network, with
the handler that makes masks of it.
"""

import base64
import io
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/lib"))
from checks import until  # noqa: E402
from served import ROOT, Client, Server, pack  # noqa: E402

NETWORKS = ROOT / "tests/parity/onnx"
SCENE = (ROOT / "examples/street_scenes/sample/scene.png").read_bytes()
SIDES = 64, 96
PORTS = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

DTYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "INT8": np.int8,
    "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}

# What Triton completes from the file where there is no configuration; here what it cannot know.
CONFIGS = {
    "classifier": """
        backend: "onnxruntime"
        max_batch_size: 8
        input { name: "input" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }
        output { name: "output" data_type: TYPE_FP32 dims: [ 1000 ] label_filename: "labels.txt" }
        dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 500 }
        instance_group { count: 1 kind: KIND_CPU }
    """,
    "busy": """
        platform: "onnxruntime_onnx"
        max_batch_size: 1
        input { name: "rounds" data_type: TYPE_INT64 dims: [ 1 ] }
        output { name: "done" data_type: TYPE_INT64 dims: [ 1 ] }
        dynamic_batching {
          priority_levels: 2
          default_priority_level: 2
          default_queue_policy { allow_timeout_override: true }
        }
        instance_group { count: 1 kind: KIND_CPU }
    """,
    "plain": """
        platform: "onnxruntime_onnx"
        max_batch_size: 0
        input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1, -1 ] }
        output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1, -1 ] }
    """,
}
FILES = {"plain": "identity_fp32"}
COMPLETED = ["simple", "simple_string", "add_fp32", *(f"identity_{name.lower()}" for name in [*DTYPES, "BF16", "string"])]


def add_model(store, name):
    """One folder of the repository, as it lies on a disk that Triton serves from."""
    folder = Path(store, name)
    (folder / "1").mkdir(parents=True)
    shutil.copy(NETWORKS / f"{FILES.get(name, name)}.onnx", folder / "1/model.onnx")
    if name in CONFIGS:
        (folder / "config.pbtxt").write_text(f'name: "{name}"\n{CONFIGS[name]}', encoding="utf-8")
    if name == "classifier":
        (folder / "labels.txt").write_text("".join(f"kind {number}\n" for number in range(1000)), encoding="utf-8")


def lay_out(store):
    for name in [*CONFIGS, *COMPLETED]:
        add_model(store, name)
    pack(store, "scenes", f"handler:\n  mean: {MEAN.tolist()}\n  std: {STD.tolist()}\n")


class Triton(Server):
    """marserve as Triton's clients look for it, on free ports: `http` and `grpc` are without a scheme."""

    def __init__(self, store, *flags, **how):
        super().__init__(store, [], "--triton", *PORTS, *flags, **how)
        started = lambda service: until(service, lambda: re.search(f"Started {service} at (?:http://)?(\\S+)", self.log.read_text()))
        self.http, self.grpc = started("HTTPService")[1], started("GRPCInferenceService")[1]
        self.grpc_inference = self.find("gRPC predictions on")
        self.grpc_management = self.find("gRPC management on")


@contextmanager
def served(*flags):
    """A model store, laid out anew, and its server."""
    with tempfile.TemporaryDirectory() as store:
        lay_out(store)
        with Triton(store, *flags) as server:
            yield server


def fixed_seed():
    return np.random.default_rng(7)


def picture(rows=1):
    """What the classifier takes: planes of one number each, by which its answer is one product with a matrix."""
    levels = fixed_seed().normal(size=(rows, 3)).astype(np.float32)
    return levels, np.ascontiguousarray(np.broadcast_to(levels[:, :, None, None], (rows, 3, 224, 224)))


def matrix(told):
    """The classifier's matrix out of its file, where it lies as raw bytes: 3 x 1000 numbers, the only ones there."""
    file = (NETWORKS / "classifier.onnx").read_bytes()
    raw = told["cases"][1]["outputs"]["output"]  # the answers to (1, 0, 0) and (0, 1, 0) are its first rows
    rows = np.frombuffer(bytes.fromhex(raw["hex"]), np.float32).reshape(raw["shape"])
    start = file.index(rows[0].tobytes())
    return np.frombuffer(file, np.float32, 3000, start).reshape(3, 1000)


def noise(seed):
    """A picture as a file, and the tensor that the street scenes' network takes for it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIDES, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    prepared = ((pixels / np.float32(255) - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]
    return out.getvalue(), np.ascontiguousarray(prepared)


def mask(answer):
    """The classes in the JSON body of the handler that makes masks."""
    return np.frombuffer(base64.b64decode(answer["base64_prediction"]), answer["dtype"]).reshape(answer["shape"])


def predict(server, path, body):
    """The body that the archive's handler answers over TorchServe's REST."""
    answer = Client(server.inference).ask("POST", f"/predictions/{path}", body)
    if answer.status != 200:
        raise ValueError(f"/predictions/{path}: {answer.status} {answer.body[:300]}")
    return answer.body
