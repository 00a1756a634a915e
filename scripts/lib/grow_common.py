"""What the parts of scripts/growth share: a store with networks of next to nothing, and requests to them."""

import contextlib
import json
import struct
import tempfile
from pathlib import Path

import networks
from latency import tensor_request
from served import Server, pack

# One worker, one request at a time: what grows is the server's share, and batches would hide it.
CONFIG = """\
minWorkers: 1
maxWorkers: 1
batchSize: 1
deviceType: cpu
onnx: {intra_op_thread_count: 1}
signature:
  inputs: [{name: x, datatype: FP32, shape: [-1, -1]}]
  outputs: [{name: y, datatype: FP32, shape: [-1, 1]}]
"""
FORMATS = {"pt": networks.torchscript, "onnx": networks.onnx}


@contextlib.contextmanager
def store(*wanted):
    """A folder with an archive of each network, `NAME-FORMAT.mar`."""
    with tempfile.TemporaryDirectory() as folder:
        for network, form in wanted:
            weights = Path(folder) / f"{network}.{form}"
            weights.write_bytes(FORMATS[form](network))
            pack(folder, f"{network}-{form}", CONFIG, weights, "tensor")
            weights.unlink()
        yield folder


@contextlib.contextmanager
def serving(network, form="pt", *flags, load=True):
    """A server with this network alone."""
    with store((network, form)) as folder, Server(folder, [f"{network}-{form}.mar"] if load else [], *flags) as server:
        yield server


def numbers(width):
    """So many numbers in one row, as bytes."""
    return struct.pack(f"<{width}f", *(number % 97 / 8 for number in range(width)))


def binary(connection, model, width=4):
    """A request of one row as bytes."""
    body, head = tensor_request("x", [1, width], numbers(width))
    return connection.request(f"/v2/models/{model}/infer", body, Content_Type="application/octet-stream",
                              Inference_Header_Content_Length=head)


def as_json(connection, model, width):
    """The same as JSON."""
    data = [number % 97 / 8 for number in range(width)]
    tensor = {"name": "x", "shape": [1, width], "datatype": "FP32", "data": data}
    body = json.dumps({"inputs": [tensor]}).encode()
    return connection.request(f"/v2/models/{model}/infer", body, Content_Type="application/json")


def get(connection, path):
    return f"GET {path} HTTP/1.1\r\nHost: {connection.host}\r\n\r\n".encode()
