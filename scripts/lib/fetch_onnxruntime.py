#!/usr/bin/env python3
"""Fetch ONNX Runtime for the processor into a folder: fetch_onnxruntime.py [--check] FOLDER

--check fetches nothing: it exits 0 if FOLDER is whole. How it is fetched is told in fetching.py.
"""

import sys

from download import Wheel
from fetching import Library, run


class OnnxRuntime(Library):
    name = "ONNX Runtime"
    version = "1.31.1"
    extracted = 30_000_000
    loads = "lib/libonnxruntime.so"
    own = "set ORT_DYLIB_PATH to a libonnxruntime.so of your own, 1.24 or newer, when the server starts"
    wheels = (
        Wheel(
            "onnxruntime", version, "onnxruntime-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl",
            23_760_988, "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
            {"onnxruntime/capi/libonnxruntime.so.1.31.1": ("lib/libonnxruntime.so", 29_352_200)},
        ),
    )


if __name__ == "__main__":
    sys.exit(run(OnnxRuntime(), __doc__ or ""))
