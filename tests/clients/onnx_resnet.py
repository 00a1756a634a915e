#!/usr/bin/env python3
"""Has tritonclient.grpc ask for a ResNet-18 in ONNX, and compares with what ONNX Runtime's own package answers.

usage: onnx_resnet.py [WORD...]

The network is served twice: as a model of a Triton repository, and as an archive behind `image_classifier`, whose
network is asked past the handler. The weights are made on the spot. With WORDs, the checks whose name has all of them.
Takes the programs that MARSERVE and MAR name, else the release build.
"""

import os
import queue
import sys
import tempfile
from functools import partial
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the library is opened

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import tritonclient.grpc as grpc_client  # noqa: E402

from checks import raised, run, same, true  # noqa: E402
from repository import NETWORKS, Triton, pack  # noqa: E402

sys.path.insert(0, str(NETWORKS))
from resnet_weights import CLASSES, FILE, write  # noqa: E402

BATCHES = 1, 2, 3, 8, 32
LARGEST = max(BATCHES)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
CONFIG = f"""
    name: "resnet18"
    backend: "onnxruntime"
    max_batch_size: {LARGEST}
    input {{ name: "data" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }}
    output {{ name: "scores" data_type: TYPE_FP32 dims: [ {CLASSES} ] }}
    dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
    parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
"""
ARCHIVE = f"batchSize: {LARGEST}\nmaxBatchDelay: 2\nonnx: {{intra_op_thread_count: 1}}\n"


def lay_out(store):
    """The same network as a model of Triton's and as an archive; where it lies."""
    version = Path(store, "resnet18", "1")
    version.mkdir(parents=True)
    network = write(version).rename(version / "model.onnx")
    (version.parent / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    pack(store, "pictures", ARCHIVE, network, "image_classifier", "--extra-files", version / FILE)
    return network


def peer(network):
    """ONNX Runtime's own Python package on the same file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def pictures(rows):
    return np.random.default_rng(rows).standard_normal((rows, 3, 224, 224), np.float32)


def asked(model, x):
    tensor = grpc_client.InferInput("data", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    return {"model_name": model, "inputs": [tensor]}


def close(what, got, expected):
    same(f"{what}, shape", (got.shape, got.dtype), (expected.shape, expected.dtype))
    apart = float(np.abs(got - expected).max())
    true(what, np.allclose(got, expected, **CLOSE), f"is {apart:.1e} off")
    return apart


def batches(model, client, session):
    """Requests of so many rows, each a batch."""
    worst = 0.0
    for rows in BATCHES:
        x = pictures(rows)
        answer = client.infer(**asked(model, x))
        true("raw", len(answer.get_response().raw_output_contents) == 1)
        worst = max(worst, close(f"{rows} rows", answer.as_numpy("scores"), session.run(None, {"data": x})[0]))
    print(f"{model}: batches of {BATCHES}, at most {worst:.1e} from onnxruntime {onnxruntime.__version__}")


def rows_of_many_requests(model, client, session):
    """Requests that come together share a batch and get their own rows back."""
    x = pictures(LARGEST)
    expected = session.run(None, {"data": x})[0]
    parts = [slice(start, start + rows) for start, rows in ((0, 1), (1, 2), (3, 3), (6, 8), (14, 16), (30, 2))]
    answers = queue.Queue()
    keep = lambda part: lambda result, error: answers.put((part, result, error))
    for part in parts:
        client.async_infer(**asked(model, x[part]), callback=keep(part))
    for _ in parts:
        part, answer, error = answers.get(timeout=120)
        true(f"rows {part}", error is None, error)
        close(f"rows {part}", answer.as_numpy("scores"), expected[part])


def told(model, client, session):
    """What the network takes and gives, under its own names; a picture of another size is refused."""
    about = client.get_model_metadata(model)
    ports = lambda side: [(port.name, port.datatype, list(port.shape)) for port in side]
    same("inputs", ports(about.inputs), [("data", "FP32", [-1, 3, 224, 224])])
    same("outputs", ports(about.outputs), [("scores", "FP32", [-1, CLASSES])])
    x = np.zeros((2, 3, 224, 223), np.float32)
    raised("another shape", grpc_client.InferenceServerException, client.infer, **asked(model, x))


def main() -> int:
    checks = [batches, rows_of_many_requests, told]
    with tempfile.TemporaryDirectory() as store:
        session = peer(lay_out(store))
        with Triton(store) as server, grpc_client.InferenceServerClient(server.grpc) as client:
            named = [(f"{model}: {check.__name__}", partial(check, model, client, session))
                     for model in ("resnet18", "pictures") for check in checks]
            return run([(name, check) for name, check in named if all(word in name for word in sys.argv[1:])])


if __name__ == "__main__":
    sys.exit(main())
