#!/usr/bin/env python3
"""Fetch an ONNX Runtime with OpenVINO into a folder: fetch_onnxruntime_openvino.py [--check] FOLDER

scripts/providers runs on it. --check fetches nothing: it exits 0 if FOLDER is whole. How it is fetched is told in
fetching.py.
"""

import sys

from download import Wheel
from fetching import Library, run

SIZES = {
    "libonnxruntime.so.1.24.1": 31_260_360,
    "libonnxruntime_providers_openvino.so": 2_000_856,
    "libonnxruntime_providers_shared.so": 15_776,
    "libopenvino.so.2541": 25_284_089,
    "libopenvino_intel_cpu_plugin.so": 67_008_289,
    "libopenvino_onnx_frontend.so.2541": 7_006_249,
    "libtbb.so.12": 367_649,
}


class OpenVino(Library):
    name = "ONNX Runtime with OpenVINO"
    version = "1.24.1"
    extracted = sum(SIZES.values())
    loads = "lib/libonnxruntime.so.1.24.1"
    own = "set ORT_DYLIB_PATH to a libonnxruntime.so that has OpenVINO"
    wheels = (
        Wheel(
            "onnxruntime-openvino", version, "onnxruntime_openvino-1.24.1-cp312-cp312-manylinux_2_28_x86_64.whl",
            84_433_207, "d617fac2f59a6ab5ea59a788c3e1592240a129642519aaeaa774761dfe35150e",
            {f"onnxruntime/capi/{name}": (f"lib/{name}", size) for name, size in SIZES.items()},
        ),
    )


if __name__ == "__main__":
    sys.exit(run(OpenVino(), __doc__ or ""))
