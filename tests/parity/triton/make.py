"""Lays out the model repository beside this file, out of networks that lie elsewhere in this repository.

usage: make.py
"""

import shutil
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PARITY = ROOT / "tests/parity/onnx"

CLASSIFIER = """\
name: "classifier"
backend: "onnxruntime"
max_batch_size: 8
input [
  {
    name: "input"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
  }
]
output [
  {
    name: "output"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    label_filename: "labels.txt"
  }
]
instance_group [ { kind: KIND_CPU count: 2 } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
}
model_warmup [
  {
    name: "zeros"
    batch_size: 1
    inputs { key: "input" value: { data_type: TYPE_FP32 dims: [ 3, 224, 224 ] zero_data: true } }
  }
]
"""

PAIR = """\
platform: "pytorch_libtorch"
max_batch_size: 4
input [
  { name: "INPUT__0" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "INPUT__1" data_type: TYPE_FP32 dims: [ -1 ] }
]
output [
  { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "OUTPUT__1" data_type: TYPE_FP32 dims: [ -1 ] }
]
version_policy: { all { } }
parameters { key: "INFERENCE_MODE" value: { string_value: "true" } }
"""

# Of `simple` everything is completed from its file.
FILES = {
    "classifier/1/model.onnx": PARITY / "classifier.onnx",
    "simple/1/model.onnx": PARITY / "simple.onnx",
    "pair/1/model.pt": ROOT / "crates/runtime/tests/fixtures/pair.pt",
}
TEXTS = {
    "classifier/config.pbtxt": CLASSIFIER,
    "classifier/labels.txt": "".join(f"kind {number}\n" for number in range(1000)),
    "pair/config.pbtxt": PAIR,
}


def main() -> None:
    for path, source in FILES.items():
        place = HERE / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
    for path, text in TEXTS.items():
        (HERE / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
