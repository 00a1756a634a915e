#!/usr/bin/env python3
"""Has `requests` and tritonclient ask for a scikit-learn pipeline over mixed columns, and compares with scikit-learn.

usage: tables.py [WORD...]

The network, the rows and what scikit-learn made of them lie in tests/parity/sklearn. With WORDs, the checks whose name
has all of them. Takes the programs that MARSERVE and MAR name, else the release build.
"""

import gzip
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import requests
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from checks import holds, run, same, true
from repository import NETWORKS, Triton, pack

FOLDER = NETWORKS.parent / "sklearn"
TOLD = json.loads(gzip.decompress((FOLDER / "people_forest.json.gz").read_bytes()))
COLUMNS = {"age": np.int64, "hours": np.float32, "work": np.object_, "city": np.object_}


def close(what, got):
    most = float(np.abs(np.asarray(got, np.float64) - np.array(TOLD["probabilities"])).max())
    true(what, most < 1e-6, f"is {most:.1e} off")


def records(server):
    """Rows as pandas' `to_dict(orient="records")` has them, missing numbers as null."""
    answer = requests.post(f"{server.inference}/v1/models/people:predict", json={"instances": TOLD["rows"]}, timeout=120)
    answer.raise_for_status()
    predictions = answer.json()["predictions"]
    same("labels", [row["output_label"] for row in predictions], TOLD["predicted"])
    close("probabilities", [[row["output_probability"][name] for name in TOLD["classes"]] for row in predictions])


def one(server):
    url = f"{server.inference}/predictions/people"
    answer = requests.post(url, json=TOLD["rows"][0], timeout=120)
    same("label", answer.json()["output_label"], TOLD["predicted"][0])
    several = requests.post(url, json=TOLD["rows"][:2], timeout=120)
    same("status", several.status_code, 400)
    holds("several rows", several.json()["message"], "/v1/models/NAME:predict")


def tensors(server, library, url):
    """All rows as columns of one request; a number that is missing is NaN."""
    columns = {name: [row[name] for row in TOLD["rows"]] for name in COLUMNS}
    inputs = []
    for name, kind in COLUMNS.items():
        column = np.array([[np.nan if value is None else value] for value in columns[name]], kind)
        tensor = library.InferInput(name, list(column.shape), {"i": "INT64", "f": "FP32", "O": "BYTES"}[column.dtype.kind])
        tensor.set_data_from_numpy(column)
        inputs.append(tensor)
    with library.InferenceServerClient(url) as client:
        answer = client.infer("people", inputs)
        best = client.infer("people", inputs, outputs=[library.InferRequestedOutput("output_probability", class_count=1)])
    same("labels", [label.decode() for label in answer.as_numpy("output_label")], TOLD["predicted"])
    close("probabilities", answer.as_numpy("output_probability"))
    names = [text[0].decode().split(":")[2] for text in best.as_numpy("output_probability")]
    same("classes", names, TOLD["predicted"])


def main() -> int:
    with tempfile.TemporaryDirectory() as store:
        pack(store, "people", "batchSize: 32\nmaxBatchDelay: 2\n", Path(FOLDER, "people_forest_zipmap.onnx"), "tensor")
        with Triton(store) as server:
            checks = [("records over requests", partial(records, server)), ("one row over requests", partial(one, server)),
                      ("tensors over tritonclient.http", partial(tensors, server, http_client, server.http)),
                      ("tensors over tritonclient.grpc", partial(tensors, server, grpc_client, server.grpc))]
            return run([(name, check) for name, check in checks if all(word in name for word in sys.argv[1:])])


if __name__ == "__main__":
    sys.exit(main())
