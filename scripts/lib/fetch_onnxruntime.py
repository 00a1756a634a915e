#!/usr/bin/env python3
"""Fetch ONNX Runtime for the processor into a folder: fetch_onnxruntime.py [--check] FOLDER

--check fetches nothing: it exits 0 if FOLDER is whole. How it is fetched is told in fetching.py.
"""

import sys

from download import Wheel
from fetching import Library, run


class OnnxRuntime(Library):
    name = "ONNX Runtime"
    # The last release whose public build for Linux has no telemetry in it: from 1.29 on, opening the library
    # writes an identifier to disk and sends events.
    version = "1.28.0"
    extracted = 25_000_000
    loads = "lib/libonnxruntime.so"
    own = "set ORT_DYLIB_PATH to a libonnxruntime.so of your own, 1.24 or newer, when the server starts"
    wheels = (
        Wheel(
            "onnxruntime", version, "onnxruntime-1.28.0-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            19_214_257, "0a83bdb70d143cede762b677789bf2a7acca54b3fb82565601d5c30695aa933c",
            {"onnxruntime/capi/libonnxruntime.so.1.28.0": ("lib/libonnxruntime.so", 24_272_944)},
        ),
    )


if __name__ == "__main__":
    sys.exit(run(OnnxRuntime(), __doc__ or ""))
