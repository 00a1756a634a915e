"""What the system says of a process: memory, threads, processor time. Standard library alone."""

import os
import re
from pathlib import Path

MB = 1 << 20


def status(pid):
    """Resident memory and the most that it ever was, in bytes, and the number of threads."""
    text = Path(f"/proc/{pid}/status").read_text()
    number = lambda name: int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1])
    return {"resident": 1024 * number("VmRSS"), "most": 1024 * number("VmHWM"), "threads": number("Threads")}


def cpu_seconds(pid):
    """What the processors have worked for it, all of its threads together."""
    # The name may hold spaces; what follows it does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parts(smaps):
    """Resident bytes by what they are: the C library's heap, other memory without a file (its further heaps, threads'
    stacks, large blocks), and files."""
    found = {"heap": 0, "anonymous": 0, "files": 0}
    kind = "files"
    for line in smaps.splitlines():
        mapping = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+) *(.*)", line)
        if mapping:
            inode, name = mapping.groups()
            kind = "heap" if name == "[heap]" else "files" if inode != "0" else "anonymous"
        elif line.startswith("Rss:"):
            found[kind] += 1024 * int(line.split()[1])
    return found


def memory(pid):
    return parts(Path(f"/proc/{pid}/smaps").read_text())
