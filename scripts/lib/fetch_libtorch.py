#!/usr/bin/env python3
"""Fetch the CPU parts of libtorch into a folder: fetch_libtorch.py [--check] FOLDER

--check fetches nothing: it exits 0 if FOLDER is whole. How it is fetched is told in fetching.py.
"""

import sys
import zipfile
from pathlib import Path

from download import Wheel
from fetching import Library, run

HEADERS = "torch/include/"
LINKER_SCRIPT = "INPUT(-ltorch_cpu -lc10)\n"


class Libtorch(Library):
    name = "libtorch"
    version = "2.11.0"
    extracted = 525_000_000
    loads = "lib/libtorch_cpu.so"
    own = "set LIBTORCH to a libtorch 2.11.0 of your own"
    # The versions of the CUDA libraries are those that torch's own metadata asks for. libtorch_cpu.so is linked to both,
    # and they load on a machine without a GPU.
    wheels = (
        Wheel(
            "torch", version, "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
            530_712_279, "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
            {
                "torch/lib/libtorch_cpu.so": ("lib/libtorch_cpu.so", 451_209_129),
                "torch/lib/libc10.so": ("lib/libc10.so", 1_498_969),
                "torch/lib/libgomp.so.1": ("lib/libgomp.so.1", 254_009),
                "torch/lib/libtorch_global_deps.so": ("lib/libtorch_global_deps.so", 17_017),
            },
        ),
        Wheel(
            "nvidia-cuda-cupti", "13.0.85", "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
            10_715_597, "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
            {"nvidia/cu13/lib/libcupti.so.13": ("lib/libcupti.so.13", 4_152_208)},
        ),
        Wheel(
            "nvidia-cuda-runtime", "13.0.96",
            "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            2_243_632, "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            {"nvidia/cu13/lib/libcudart.so.13": ("lib/libcudart.so.13", 704_288)},
        ),
    )

    def finish(self, wheels: dict[str, Path], folder: Path) -> None:
        for wheel in self.wheels:
            with zipfile.ZipFile(wheels[wheel.file]) as archive:
                for member in archive.namelist():
                    if member.startswith(HEADERS):
                        archive.extract(member, folder)
        (folder / HEADERS).rename(folder / "include")
        (folder / "torch").rmdir()
        (folder / "lib/libtorch.so").write_text(LINKER_SCRIPT)
        (folder / "build-version").write_text(f"{self.version}\n")

    def is_whole(self, folder: Path) -> bool:
        header, script = folder / "include/torch/csrc/api/include/torch/torch.h", folder / "lib/libtorch.so"
        return super().is_whole(folder) and header.is_file() and script.is_file() and (
            script.stat().st_size == len(LINKER_SCRIPT))


if __name__ == "__main__":
    sys.exit(run(Libtorch(), __doc__ or ""))
