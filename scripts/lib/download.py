"""Download one file so that it can be resumed: after a lost connection, and by a later run."""

import errno
import hashlib
import http.client
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pip_index import Trouble, Web

TRIES = 5
CHUNK = 1 << 18
LARGE = 100_000_000


class Wheel(NamedTuple):
    """One exact file of one project, and what is wanted of it: member -> (place in the folder, size)."""

    project: str
    version: str
    file: str
    size: int
    sha256: str
    libraries: dict[str, tuple[str, int]]


def say(text: str) -> None:
    wipe = "\r\033[K" if sys.stderr.isatty() else ""  # a bar that was cut short
    print(f"{wipe}setup: {text}", file=sys.stderr, flush=True)


class Progress:
    """A bar on a terminal; elsewhere a line for every tenth, or for the end of what is not large."""

    def __init__(self, label: str, done: int, total: int) -> None:
        self.label, self.first, self.total = label, done, total
        self.start = self.shown = time.monotonic()
        self.tenth = done * 10 // total
        self.terminal = sys.stderr.isatty()

    def update(self, done: int) -> None:
        now, tenth = time.monotonic(), done * 10 // self.total
        if self.terminal and (now - self.shown >= 0.1 or done == self.total):
            end = "\n" if done == self.total else ""
            sys.stderr.write(f"\r[{'#' * (2 * tenth):20}] {self.line(done, now)}\033[K{end}")
            sys.stderr.flush()
            self.shown = now
        elif not self.terminal and tenth > self.tenth and (done == self.total or self.total > LARGE):
            say(self.line(done, now))
        self.tenth = tenth

    def line(self, done: int, now: float) -> str:
        rate = (done - self.first) / max(now - self.start, 1e-3)
        left = int((self.total - done) / rate) if rate else 0
        return (f"{self.label} {done / 1e6:.0f}/{self.total / 1e6:.0f} MB"
                f" ({done * 100 // self.total} %), {rate / 1e6:.1f} MB/s, {left // 60}:{left % 60:02} left")


def digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            hasher.update(chunk)
    return hasher.hexdigest()


def pull(wheel: Wheel, url: str, part: Path, web: Web) -> None:
    """One request: go on where `part` ends, or from the start where the server cannot."""
    have = part.stat().st_size if part.exists() else 0
    if have > wheel.size:
        part.unlink()
        have = 0
    if have == wheel.size:
        return
    with web.open(url, have) as answer:
        if have and answer.status != 206:
            say("the server cannot resume: starting this file again")
            have = 0
        progress = Progress(wheel.project, have, wheel.size)
        with part.open("ab" if have else "wb") as file:
            for chunk in iter(lambda: answer.read(CHUNK), b""):
                file.write(chunk)
                have += len(chunk)
                progress.update(min(have, wheel.size))
    if have < wheel.size:
        raise ConnectionError(f"the connection ended at {have} of {wheel.size} bytes")


def waits() -> Iterator[int]:
    return iter([2**n for n in range(1, TRIES)])


def download(wheel: Wheel, url: str, part: Path, web: Web, pause: Callable[[float], None] = time.sleep) -> None:
    """`part` becomes the whole file, its checksum right."""
    delays, second_go = waits(), False
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            pull(wheel, url, part, web)
        except (OSError, http.client.HTTPException) as error:
            give_up_on(error, wheel)
            if part.exists() and part.stat().st_size > before:
                delays = waits()
            delay = next(delays, None)
            if delay is None:
                raise Trouble(f"cannot download {wheel.file}: {reason(error)}; "
                              "run the command again to go on from here") from error
            say(f"{reason(error)}; trying again in {delay} s")
            pause(delay)
            continue
        found = digest(part)
        if found == wheel.sha256:
            return
        part.unlink()
        if second_go:
            raise Trouble(f"{wheel.file} has the wrong checksum twice: expected sha256 {wheel.sha256}, got {found}; "
                          "the package index serves another file")
        say(f"{wheel.file} has the wrong checksum, it is damaged: downloading it again from the start")
        second_go = True


def reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        error = error.reason if isinstance(error.reason, BaseException) else error
    return str(error) or type(error).__name__


def give_up_on(error: Exception, wheel: Wheel) -> None:
    """Raise where another try cannot help: the disk is at fault, or the server means what it says."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code < 500 and error.code not in (408, 429):
            raise Trouble(f"cannot download {wheel.file}: the server answered {error.code} {error.reason}") from error
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise Trouble("the disk is full; make room and run the command again to go on from here") from error
    elif isinstance(error, (PermissionError, FileNotFoundError, IsADirectoryError)):
        raise Trouble(str(error)) from error
