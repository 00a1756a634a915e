#!/usr/bin/env python3
"""Fetch the CPU parts of libtorch into a folder: fetch_libtorch.py [--check] FOLDER

pip says where the wheels are (its index, its proxy, its certificates); the download is done here, so that it can be
resumed. With MARSERVE_WHEELS=DIR the wheels are read from DIR. --check fetches nothing: it exits 0 if FOLDER is whole.
"""

import ctypes
import errno
import fcntl
import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path

from download import CHUNK, Wheel, digest, download, say
from pip_index import Trouble, ask_pip, pip_download

VERSION = "2.11.0"
EXTRACTED = 525_000_000
SPARE = 100_000_000


# The versions of the CUDA libraries are those that torch's own metadata asks for. libtorch_cpu.so is linked to both,
# and they load on a machine without a GPU.
WHEELS = (
    Wheel(
        "torch", VERSION, "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
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
HEADERS = "torch/include/"
LINKER_SCRIPT = "INPUT(-ltorch_cpu -lc10)\n"


def check_room(parts: Path) -> None:
    missing = sum(wheel.size for wheel in WHEELS) - sum(part.stat().st_size for part in parts.glob("*.part"))
    need, free = EXTRACTED + max(missing, 0) + SPARE, shutil.disk_usage(parts).free
    if free < need:
        raise Trouble(f"{parts} has {free / 1e6:.0f} MB free, libtorch needs {need / 1e6:.0f} MB while it is unpacked; "
                      "make room, or set XDG_CACHE_HOME to a folder on a bigger disk")


def wheels_from(folder: Path) -> dict[str, Path]:
    """The wheels that somebody has already put into `folder`."""
    found = {wheel.file: folder / wheel.file for wheel in WHEELS}
    for wheel in WHEELS:
        path = found[wheel.file]
        if not path.is_file():
            raise Trouble(f"{folder} does not hold {wheel.file}")
        if digest(path) != wheel.sha256:
            raise Trouble(f"{path} has the wrong checksum, expected sha256 {wheel.sha256}")
    return found


def wheels_from_network(parts: Path) -> dict[str, Path]:
    parts.mkdir(parents=True, exist_ok=True)
    check_room(parts)
    paths = {wheel.file: parts / f"{wheel.file}.part" for wheel in WHEELS}
    wanted = [(wheel.project, wheel.version, wheel.file) for wheel in WHEELS]
    say("asking pip where the wheels of libtorch are")
    try:
        urls, web = ask_pip(wanted)
    except (AttributeError, ImportError, TypeError) as error:
        say(f"pip is not as it was known ({error}): it downloads by itself")
        pip_download(wanted, parts)
        return wheels_from(parts)
    for wheel in WHEELS:
        download(wheel, urls[wheel.file], paths[wheel.file], web)
    return paths


def extract(wheels: dict[str, Path], folder: Path) -> None:
    sums = []
    for wheel in WHEELS:
        with zipfile.ZipFile(wheels[wheel.file]) as archive:
            for member, (place, _) in wheel.libraries.items():
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
                target.chmod(0o755)
                sums.append(f"{digest(target)}  {place}\n")
            for member in archive.namelist():
                if member.startswith(HEADERS):
                    archive.extract(member, folder)
    (folder / HEADERS).rename(folder / "include")
    (folder / "torch").rmdir()
    (folder / "lib/libtorch.so").write_text(LINKER_SCRIPT)
    (folder / "build-version").write_text(f"{VERSION}\n")
    (folder / "SHA256SUMS").write_text("".join(sums))


def check_loads(folder: Path) -> None:
    try:
        ctypes.CDLL(str(folder / "lib/libtorch_cpu.so"))
    except OSError as error:
        raise Trouble(f"the libtorch that was fetched does not load here: {error}") from error


def is_whole(folder: Path) -> bool:
    """Cheap, for every run: the sizes, not the checksums (those are in SHA256SUMS)."""
    sizes = {place: size for wheel in WHEELS for place, size in wheel.libraries.values()}
    sizes["lib/libtorch.so"] = len(LINKER_SCRIPT)
    header = folder / "include/torch/csrc/api/include/torch/torch.h"
    return header.is_file() and (folder / "SHA256SUMS").is_file() and all(
        (folder / place).is_file() and (folder / place).stat().st_size == size for place, size in sizes.items())


def fetch(folder: Path) -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Trouble(f"there is no libtorch to fetch for {sys.platform} {platform.machine()}: "
                      f"set LIBTORCH to a libtorch {VERSION} of your own")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is fetching libtorch: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_whole(folder):
            return
        parts, new = folder.parent / "wheels", folder.parent / f"{folder.name}.new"
        shutil.rmtree(new, ignore_errors=True)
        given = os.environ.get("MARSERVE_WHEELS")
        wheels = wheels_from(Path(given)) if given else wheels_from_network(parts)
        say("unpacking libtorch")
        try:
            extract(wheels, new)
            check_loads(new)
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(parts, ignore_errors=True)


def main() -> int:
    arguments = sys.argv[1:]
    check_only = arguments[:1] == ["--check"]
    if len(arguments) != 1 + check_only:
        print((__doc__ or "").splitlines()[0], file=sys.stderr)
        return 2
    folder = Path(arguments[-1]).absolute()
    try:
        if check_only:
            return 0 if is_whole(folder) else 1
        fetch(folder)
    except Trouble as trouble:
        say(f"error: {trouble}")
        return 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say("error: the disk is full; make room and run the command again" if full else f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run the command again to go on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
