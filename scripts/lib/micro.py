"""What divan's tables say, and whether a benchmark has become slower since they were kept. Standard library alone.

A time is kept in units: how many times as long as a fixed piece of work took in the same process (benches/calibration.rs).
Of each process the fastest sample counts, because what disturbs a machine only ever makes it slower; processes are run in
rounds, whose median counts, and between whose least and most lies the noise.
"""

import json
import re
import statistics

# The benchmark that every program has.
UNIT = "calibration/unit"
# How much slower a benchmark may be on a processor of the baseline's kind, and on another, whose caches and widths differ.
SLOWER, SLOWER_ELSEWHERE = 1.25, 2.0
# How much more it may allocate: less than one call more for whoever makes fewer than twenty.
MORE = 1.05

SECONDS = {"ps": 1e-12, "ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
BYTES = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}

LEAF = re.compile(r"^((?:│  |   )*)[├╰]─ (.+?)(?: {2,}(.*))?$")


def parsed(text):
    """What a program's table tells of each of its benchmarks, by its path: the time of an iteration in seconds, and what the
    iteration asked the allocator for, where it did."""
    found, path, now, section, rows = {}, [], None, None, 0
    for line in text.splitlines():
        leaf = LEAF.match(line)
        if leaf:
            depth = len(leaf[1]) // 3
            path = [*path[:depth], leaf[2].strip()]
            cells = [cell.strip() for cell in (leaf[3] or "").split("│")]
            now = None
            if re.match(r"[\d.]+ \S+$", cells[0]):
                now = found["/".join(path)] = {"seconds": quantity(cells[0], SECONDS), "calls": 0.0, "bytes": 0.0}
            section = None
        elif now is not None and line.count("│") >= 5:
            cells = [cell.strip() for cell in line.rsplit("│", 5)]
            first = cells[0].strip("│ ")
            if first.endswith(":"):
                section, rows = first, 0
            elif section in ("alloc:", "grow:"):
                # First how often, then how many bytes; those of the sample in the middle.
                key, value = ("calls", float(cells[2])) if rows == 0 else ("bytes", quantity(cells[2], BYTES))
                now[key] += value
                rows += 1
    return found


def quantity(text, units):
    number, unit = text.split()
    return float(number) * units[unit]


def in_units(program, found):
    """The same in units, under the program's name, without the unit itself."""
    if UNIT not in found:
        raise ValueError(f"{program} did not say how long {UNIT} takes; is benches/calibration.rs a module of it?")
    unit = found[UNIT]["seconds"]
    return {f"{program}/{path}": {**told, "units": told["seconds"] / unit} for path, told in found.items() if path != UNIT}


def combined(rounds):
    """Several rounds as one: the median of each, and between what it lay."""
    together = {}
    for name in sorted({name for of in rounds for name in of}):
        told = [of[name] for of in rounds if name in of]
        units = [of["units"] for of in told]
        together[name] = {
            "seconds": statistics.median(of["seconds"] for of in told),
            "units": statistics.median(units),
            "least": min(units),
            "most": max(units),
            # The fewest: what is asked for once, at the first iteration, is not an iteration's.
            "calls": min(of["calls"] for of in told),
            "bytes": min(of["bytes"] for of in told),
        }
    return together


def verdict(now, before, tolerance):
    """What became of a benchmark, and whether that is bad. `now` is None where it is gone, `before` where it is new."""
    if now is None:
        return "gone", True
    if before is None:
        return "new", False
    said, bad = [], False
    for key, name in (("calls", "allocates more often"), ("bytes", "allocates more")):
        if now[key] > before[key] * MORE + 0.01:
            said.append(name)
            bad = True
    ratio = now["units"] / before["units"]
    if ratio > tolerance and now["least"] > before["most"]:
        said.insert(0, "slower")
        bad = True
    elif ratio < 1 / tolerance and now["most"] < before["least"]:
        said.insert(0, "faster")
    if not bad and now["calls"] < before["calls"] / MORE - 0.01:
        said.append("allocates less often")
    return ", ".join(said) or "same", bad


def compared(now, before, tolerance):
    """A row for each benchmark: its name, what it is, what it was, the verdict, and whether that is bad."""
    return [(name, now.get(name), before.get(name), *verdict(now.get(name), before.get(name), allowed(name, tolerance)))
            for name in sorted(now.keys() | before.keys())]


def allowed(name, tolerance):
    """How much slower a benchmark may be. Where several threads meet depends on which cores they are given."""
    return max(tolerance, SLOWER_ELSEWHERE) if re.search(r"/t=(?!1$)\d+$", name) else tolerance


def table(rows):
    """The rows as text for a terminal."""
    lines = [("benchmark", "now", "units", "from", "to", "baseline", "ratio", "allocations", "baseline", "verdict")]
    for name, now, before, said, _ in rows:
        ratio = f"{now['units'] / before['units']:.2f}" if now and before else ""
        lines.append((name, time(now["seconds"]) if now else "", *(figure(now, key) for key in ("units", "least", "most")),
                      figure(before, "units"), ratio, allocations(now), allocations(before), said))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = range(1, len(widths) - 1)
    return "\n".join("  ".join(cell.rjust(width) if column in right else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def figure(of, key):
    return f"{of[key]:.3g}" if of else ""


def time(seconds):
    for unit in ("s", "ms", "µs"):
        if seconds >= SECONDS[unit]:
            return f"{seconds / SECONDS[unit]:.3g} {unit}"
    return f"{seconds / SECONDS['ns']:.3g} ns"


def allocations(of):
    """How often, and how much."""
    if of is None:
        return ""
    return f"{of['calls']:g} of {size(of['bytes'])}" if of["calls"] else "none"


def size(count):
    for unit in ("GB", "MB", "KB"):
        if count >= BYTES[unit]:
            return f"{count / BYTES[unit]:.3g} {unit}"
    return f"{count:g} B"


def written(benchmarks, processor, rounds):
    """A baseline as text: a line for each benchmark, so that a change of one is a change of a line."""
    kept = ("units", "least", "most", "calls", "bytes")
    lines = [f"  {json.dumps(name)}: {json.dumps({key: rounded(of[key]) for key in kept})}"
             for name, of in sorted(benchmarks.items())]
    head = f'{{\n"processor": {json.dumps(processor)},\n"rounds": {rounds},\n"benchmarks": {{\n'
    return head + ",\n".join(lines) + "\n}\n}\n"


def rounded(number):
    """Four digits, which is more than any of them means."""
    return float(f"{number:.4g}")
