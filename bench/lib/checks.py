"""What must hold, as ratios of one run: measured, with their spread over the rounds, and whether they hold.

A ratio is formed in each round, of servers that ran in the same round; its median counts. Where a server ran in several
forms, with batches and without, the like are compared, and the best of ours with the best of theirs. What was not measured is said to be
not measured, and is no miss.
"""

import statistics
from dataclasses import dataclass

OURS, THEIRS = "marserve", "torchserve"
PEER = f"{THEIRS}/torchscript"


@dataclass(frozen=True)
class Check:
    """A ratio, which has to be at least or at most so much."""

    title: str
    values: list  # one a round
    least: float | None = None
    most: float | None = None

    def median(self):
        return statistics.median(self.values) if self.values else None

    def holds(self):
        """None where it was not measured."""
        if not self.values:
            return None
        median = self.median()
        return (self.least is None or median >= self.least) and (self.most is None or median <= self.most)

    def wanted(self):
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"


def spread(values):
    """(median, lower quartile, upper quartile); None where there are none."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return statistics.median(values), low, high


def rounds(results, job, name, *path):
    """A figure of an entry, one a round; None where that round has none."""
    entry = results["jobs"].get(job, {}).get("entries", {}).get(name, {})
    return [pick(told, path) for told in entry.get("rounds", [])]


def pick(told, path):
    for step in path:
        if told is None:
            return None
        told = told.get(step)
    return told


def ratios(above, below):
    """Of two figures, round by round, where both are there."""
    return [a / b for a, b in zip(above, below, strict=False) if a is not None and b]


def best(results, job, folder, load, figure="throughput"):
    """In each round the best of a server's forms; `throughput` is better where it is more, times where they are less."""
    names = [name for name in results["jobs"].get(job, {}).get("entries", {}) if name.startswith(f"{folder}/")]
    columns = [rounds(results, job, name, "loads", load, figure) for name in names]
    choose = max if figure in ("throughput", "goodput") else min
    width = max((len(column) for column in columns), default=0)
    found = []
    for number in range(width):
        there = [column[number] for column in columns if number < len(column) and column[number] is not None]
        found.append(choose(there) if there else None)
    return found


def most_of(results, job, name):
    """In each round, the most that an entry answered at any number of clients."""
    entry = results["jobs"].get(job, {}).get("entries", {}).get(name, {})
    return [told and max((load["throughput"] for key, load in told["loads"].items() if key.startswith("closed-")), default=None)
            for told in entry.get("rounds", [])]


def bare(results, job, form):
    return [told["throughput"] for told in results["jobs"].get(job, {}).get("bare", {}).get(form, [])]


def peers(results, job):
    """Folders of the servers that were measured at a job, ours and the floors aside."""
    entries = results["jobs"].get(job, {}).get("entries", {})
    folders = {name.split("/")[0] for name, entry in entries.items() if any(entry["rounds"])}
    return sorted(folders - {OURS, "floor"})


def checks(results):
    """Every check, in the order in which it is told."""
    own = f"{OURS}/torchscript"
    alike = lambda job, key, figure: ratios(rounds(results, job, own, "loads", key, figure),  # noqa: E731
                                            rounds(results, job, PEER, "loads", key, figure))
    either = lambda job, key, figure: ratios(best(results, job, OURS, key, figure), best(results, job, THEIRS, key, figure))  # noqa: E731
    found = []
    for how, sides in (("configured alike, a request a pass", alike), ("the best of either, batches included", either)):
        found += [
            Check(f"near-empty network, JSON, 8 clients: throughput against TorchServe, {how}",
                  sides("empty-tensor", "closed-8", "throughput"), least=25),
            Check("the same: p99 against TorchServe", sides("empty-tensor", "closed-8", "p99"), most=0.1),
            Check(f"near-empty network, PNG, 8 clients: throughput against TorchServe, {how}",
                  sides("empty-png", "closed-8", "throughput"), least=8),
            Check("the same, 1 client: p50 against TorchServe", sides("empty-png", "closed-1", "p50"), most=0.2),
        ]
    for job in ("unet-small", "unet-large"):
        for form, title in (("torchscript", "TorchScript"), ("onnx", "ONNX")):
            served = most_of(results, job, f"{OURS}/{form}")
            title = f"{job}, {title}: throughput against the bare runtime's loop"
            found.append(Check(title, ratios(served, bare(results, job, form)), least=0.97))
        theirs = most_of(results, job, PEER)
        found.append(Check(f"{job}, TorchScript: throughput against TorchServe, same file",
                           ratios(most_of(results, job, own), theirs), least=1.05))
        found.append(Check(f"{job}, ONNX: throughput against TorchServe's TorchScript",
                           ratios(most_of(results, job, f"{OURS}/onnx"), theirs), least=1.2))
    for job in results["jobs"]:
        for folder in peers(results, job):
            title = f"{job}: best throughput of marserve's forms against the best of {folder}, 8 clients"
            found.append(Check(title, ratios(best(results, job, OURS, "closed-8"), best(results, job, folder, "closed-8")), least=1))
    found.append(Check("near-empty network, JSON: requests a second against the empty actix endpoint",
                       ratios(most_of(results, "empty-tensor", own), most_of(results, "empty-tensor", "floor/actix")), least=0.6))
    memory = [rounds(results, "unet-small", name, "loaded", "pss") for name in (own, PEER)]
    ready = [rounds(results, "unet-small", name, "ready") for name in (own, PEER)]
    found.append(Check("one loaded U-Net: resident memory against TorchServe", ratios(*memory), most=1 / 3))
    found.append(Check("from start to the first right answer, U-Net, after a first start: against TorchServe", ratios(*ready), most=0.2))
    return found
