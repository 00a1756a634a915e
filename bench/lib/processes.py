"""What processes cost, read from /proc: a whole tree's processor time and memory. Standard library alone."""

import contextlib
import ctypes
import os
import re
import signal
import time
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36
# Gone between being listed and being read, or another user's.
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def adopt():
    """From here on, what a server's dead parent leaves behind becomes this process's child: no process of it is lost."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stat(text):
    """(parent, seconds of processor time with those of children that ended) of a line of /proc/PID/stat.

    The name stands in brackets and may hold anything, brackets too, so the fields are counted from the last one."""
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) / TICK


def family(root, parents):
    """A process and all that descend from it, given {process: parent}."""
    found, new = {root}, {root}
    while new:
        new = {process for process, parent in parents.items() if parent in new} - found
        found |= new
    return found


def descendants(of=None):
    """Processes below this one, or below another."""
    root = of or os.getpid()
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(*GONE):
                parents[int(entry.name)] = stat((entry / "stat").read_text())[0]
    return sorted(family(root, parents) - {root})


def processor_seconds(processes):
    """Processor time of these so far, user's and kernel's, with that of their children that ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(*GONE):
            total += stat((PROC / str(process) / "stat").read_text())[1]
    return total


def memory(processes):
    """(proportional, resident) bytes: pages that several share are counted once in the first, once for each in the second."""
    proportional = resident = 0
    for process in processes:
        with contextlib.suppress(*GONE):
            found = rollup((PROC / str(process) / "smaps_rollup").read_text())
            proportional += found["Pss"]
            resident += found["Rss"]
    return proportional, resident


def rollup(text):
    return {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}


def end(process, patience=30):
    """Ends a server that was started here, with all that it started: asked first, killed where it does not listen.

    `process` is a `subprocess.Popen`; what else descends from this one by then is taken to be the server's. The first
    is asked alone, because it may end the others in order; what it leaves behind is asked once it has gone."""
    until, asked = time.monotonic() + patience, {process.pid}
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    while left := descendants():
        if time.monotonic() > until:
            send(left, signal.SIGKILL)
        elif process.poll() is not None:
            send(set(left) - asked, signal.SIGTERM)
            asked |= set(left)
        reap(process)
        time.sleep(0.02)
    process.wait()


def send(processes, number):
    for one in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)


def reap(but):
    """Collects what was adopted and has ended; `but`'s own end is for its owner to collect."""
    for child in descendants():
        if child != but.pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


def tree_bytes(paths):
    """Bytes on disk of files and folders, each file once however many names it has."""
    seen, total = set(), 0
    for path in paths:
        for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
            told = file.lstat()
            if (told.st_dev, told.st_ino) not in seen:
                seen.add((told.st_dev, told.st_ino))
                total += told.st_blocks * 512
    return total
