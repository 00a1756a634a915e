"""Fetch what a native library needs, out of wheels, into a folder: what the fetch_*.py beside it share.

pip says where the wheels are (its index, its proxy, its certificates); the download is done here, so that it can be
resumed. With MARSERVE_WHEELS=DIR the wheels are read from DIR.
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

SPARE = 100_000_000


class Library:
    """A library, the wheels that hold it, and how its folder is filled."""

    name: str
    version: str
    wheels: tuple[Wheel, ...]
    extracted: int  # bytes
    loads: str  # the file that has to load, in the folder
    own: str  # what a person does who brings one

    def finish(self, wheels: dict[str, Path], folder: Path) -> None:
        """Put into `folder` what is needed beside the wheels' libraries."""

    def is_whole(self, folder: Path) -> bool:
        """Cheap, for every run: the sizes, not the checksums (those are in SHA256SUMS)."""
        sizes = {place: size for wheel in self.wheels for place, size in wheel.libraries.values()}
        return (folder / "SHA256SUMS").is_file() and all(
            (folder / place).is_file() and (folder / place).stat().st_size == size for place, size in sizes.items())

    def check_loads(self, folder: Path) -> None:
        try:
            ctypes.CDLL(str(folder / self.loads))
        except OSError as error:
            raise Trouble(f"the {self.name} that was fetched does not load here: {error}") from error

    def check_room(self, parts: Path) -> None:
        missing = sum(wheel.size for wheel in self.wheels) - sum(part.stat().st_size for part in parts.glob("*.part"))
        need, free = self.extracted + max(missing, 0) + SPARE, shutil.disk_usage(parts).free
        if free < need:
            raise Trouble(f"{parts} has {free / 1e6:.0f} MB free, {self.name} needs {need / 1e6:.0f} MB while it is "
                          "unpacked; make room, or set XDG_CACHE_HOME to a folder on a bigger disk")

    def wheels_from(self, folder: Path) -> dict[str, Path]:
        """The wheels that somebody has already put into `folder`."""
        found = {wheel.file: folder / wheel.file for wheel in self.wheels}
        for wheel in self.wheels:
            path = found[wheel.file]
            if not path.is_file():
                raise Trouble(f"{folder} does not hold {wheel.file}")
            if digest(path) != wheel.sha256:
                raise Trouble(f"{path} has the wrong checksum, expected sha256 {wheel.sha256}")
        return found

    def wheels_from_network(self, parts: Path) -> dict[str, Path]:
        parts.mkdir(parents=True, exist_ok=True)
        self.check_room(parts)
        paths = {wheel.file: parts / f"{wheel.file}.part" for wheel in self.wheels}
        wanted = [(wheel.project, wheel.version, wheel.file) for wheel in self.wheels]
        say(f"asking pip where the wheels of {self.name} are")
        try:
            urls, web = ask_pip(wanted)
        except (AttributeError, ImportError, TypeError) as error:
            say(f"pip is not as it was known ({error}): it downloads by itself")
            pip_download(wanted, parts)
            return self.wheels_from(parts)
        for wheel in self.wheels:
            download(wheel, urls[wheel.file], paths[wheel.file], web)
        return paths

    def extract(self, wheels: dict[str, Path], folder: Path) -> None:
        sums = []
        for wheel in self.wheels:
            with zipfile.ZipFile(wheels[wheel.file]) as archive:
                for member, (place, _) in wheel.libraries.items():
                    target = folder / place
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, target.open("wb") as file:
                        shutil.copyfileobj(source, file, CHUNK)
                    target.chmod(0o755)
                    sums.append(f"{digest(target)}  {place}\n")
        self.finish(wheels, folder)
        (folder / "SHA256SUMS").write_text("".join(sums))

    def fetch(self, folder: Path) -> None:
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise Trouble(f"there is no {self.name} to fetch for {sys.platform} {platform.machine()}: {self.own}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f"{folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another set-up is fetching {self.name}: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_whole(folder):
                return
            parts, new = folder.parent / f"{folder.name}.wheels", folder.parent / f"{folder.name}.new"
            shutil.rmtree(new, ignore_errors=True)
            given = os.environ.get("MARSERVE_WHEELS")
            wheels = self.wheels_from(Path(given)) if given else self.wheels_from_network(parts)
            say(f"unpacking {self.name}")
            try:
                self.extract(wheels, new)
                self.check_loads(new)
                shutil.rmtree(folder, ignore_errors=True)
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(parts, ignore_errors=True)


def run(library: Library, usage: str) -> int:
    """The command of a library: [--check] FOLDER."""
    arguments = sys.argv[1:]
    check_only = arguments[:1] == ["--check"]
    if len(arguments) != 1 + check_only:
        print(usage.splitlines()[0], file=sys.stderr)
        return 2
    folder = Path(arguments[-1]).absolute()
    try:
        if check_only:
            return 0 if library.is_whole(folder) else 1
        library.fetch(folder)
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
