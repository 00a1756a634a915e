"""How far served answers are from FastAI's. Standard library alone, so that a test can look at it anywhere."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROBABILITY = 1e-4
AGREEMENT = 0.999
NUMBER = 1e-4  # of the number itself
# Probabilities that are nearer than this to each other are equal in single precision: they have no order.
EQUAL = 1e-6

# What of a request's query makes the server tell all that it knows.
QUERIES = {"label": "?top_k={classes}", "labels": "?top_k={classes}&threshold=0", "mask": "?format=raw"}


@dataclass
class Tally:
    """What came of comparing one learner's answers."""

    inputs: int = 0
    same: int = 0  # answers whose labels, and their order, are FastAI's
    worst: float | None = None  # difference of probabilities, or of numbers as a part of the number
    agreement: float | None = None  # of a mask's pixels, in the worst mask
    missed: list[str] = field(default_factory=list)
    said: set[str] = field(default_factory=set)

    def far(self, difference: float) -> None:
        self.worst = max(difference, self.worst or 0.0)

    def agree(self, share: float) -> None:
        self.agreement = min(share, 1.0 if self.agreement is None else self.agreement)


def query(kind: str, known: dict) -> str:
    """What to ask for, so that the answer can be compared with all that is known."""
    return QUERIES.get(kind, "").format(classes=len(known.get("probabilities", ())))


def compare(tally: Tally, kind: str, known: dict, body: bytes, folder: Path) -> None:
    """Adds one served answer. `known` is the row of answers.json; files that it names lie in `folder`."""
    before = len(tally.missed)
    tally.inputs += 1
    try:
        KINDS[kind](tally, known, body, folder)
    except (ValueError, LookupError, TypeError, AttributeError) as problem:
        miss(tally, known, f"the answer has another form ({problem!r}): {body[:120]!r}")
    tally.same += len(tally.missed) == before


def miss(tally: Tally, known: dict, what: str) -> None:
    tally.missed.append(f"{known['input']}: {what}")


def ranked(probabilities: dict[str, float]) -> list[str]:
    """Names from the likeliest on; of equal ones the first class comes first."""
    return sorted(probabilities, key=lambda name: -probabilities[name])


def in_order(served: list[str], probabilities: dict[str, float]) -> bool:
    """Whether no label comes before one that FastAI finds likelier."""
    values = [probabilities[name] for name in served]
    return all(a > b - EQUAL for a, b in zip(values, values[1:]))


def close(tally: Tally, known: dict, served: dict[str, float]) -> None:
    """Probabilities by their labels."""
    expected = known["probabilities"]
    if set(served) != set(expected):
        return miss(tally, known, f"labels {sorted(served)}, FastAI {sorted(expected)}")
    difference = max(abs(served[name] - expected[name]) for name in expected)
    tally.far(difference)
    if not difference <= PROBABILITY:
        miss(tally, known, f"probabilities differ by {difference:.1e}")
    return None


def one_label(tally: Tally, known: dict, body: bytes, _folder: Path) -> None:
    served = json.loads(body)
    close(tally, known, served)
    names, (label,) = list(served), known["labels"]
    tally.said.add(label)
    if names[0] != label and known["probabilities"][label] - known["probabilities"][names[0]] > EQUAL:
        miss(tally, known, f"label {names[0]!r}, FastAI {label!r}")
    elif not in_order(names, known["probabilities"]):
        miss(tally, known, f"order {names}, FastAI {ranked(known['probabilities'])}")


def several_labels(tally: Tally, known: dict, body: bytes, _folder: Path) -> None:
    """All labels with their probabilities; `chosen` looks at which the server itself would name."""
    served = json.loads(body)
    close(tally, known, served)
    tally.said.add("+".join(sorted(known["labels"])))
    if not in_order(list(served), known["probabilities"]):
        miss(tally, known, f"order {list(served)}, FastAI {ranked(known['probabilities'])}")


def chosen(tally: Tally, known: dict, body: bytes) -> None:
    """The labels that the server names without being asked for more."""
    served = json.loads(body)
    if set(served) != set(known["labels"]):
        miss(tally, known, f"labels {sorted(served)}, FastAI {sorted(known['labels'])}")


def row_label(tally: Tally, known: dict, body: bytes, _folder: Path) -> None:
    served = json.loads(body)
    close(tally, known, served)
    tally.said.update(known["labels"])
    label = max(served, key=lambda name: served[name])
    if [label] != known["labels"]:
        miss(tally, known, f"label {label!r}, FastAI {known['labels']}")


def mask(tally: Tally, known: dict, body: bytes, folder: Path) -> None:
    expected = (folder / known["mask"]).read_bytes()
    if len(body) != len(expected):
        return miss(tally, known, f"{len(body)} pixels, FastAI's mask {known['shape']} has {len(expected)}")
    share = sum(a == b for a, b in zip(body, expected)) / max(1, len(expected))
    tally.agree(share)
    tally.said.update(str(value) for value in set(expected))
    if share < AGREEMENT:
        miss(tally, known, f"{share:.4%} of the pixels are equal")
    return None


def numbers(tally: Tally, known: dict, body: bytes, _folder: Path) -> None:
    served = json.loads(body)
    served = list(served.values()) if isinstance(served, dict) else served if isinstance(served, list) else [served]
    expected = known["numbers"]
    if len(served) != len(expected):
        return miss(tally, known, f"{len(served)} numbers, FastAI {len(expected)}")
    for value, number in zip(served, expected):
        difference = abs(value - number) / max(abs(number), NUMBER)
        tally.far(difference)
        if not (math.isfinite(value) and difference <= NUMBER):
            miss(tally, known, f"{value}, FastAI {number}")
    tally.said.add(" ".join(f"{number:.2g}" for number in expected))
    return None


KINDS: dict[str, Callable[[Tally, dict, bytes, Path], None]] = {
    "label": one_label, "labels": several_labels, "mask": mask, "numbers": numbers,
    "row label": row_label, "row number": numbers,
}


def apart(kind: str, alone: bytes, batched: bytes) -> str | None:
    """What differs between the answers to one request, sent alone and in a batch."""
    if kind == "mask":
        share = sum(a == b for a, b in zip(alone, batched)) / max(1, len(alone))
        return None if len(alone) == len(batched) and share >= AGREEMENT else f"{share:.4%} of the pixels are equal"
    one, other = (flat(json.loads(body)) for body in (alone, batched))
    if [name for name, _ in one] != [name for name, _ in other]:
        return f"{[name for name, _ in one]} alone, {[name for name, _ in other]} in a batch"
    worst = max((abs(a - b) / max(1.0, abs(a)) for (_, a), (_, b) in zip(one, other)), default=0.0)
    return None if worst <= PROBABILITY else f"numbers differ by {worst:.1e}"


def flat(value: object) -> list[tuple[str, float]]:
    """The numbers of an answer with their names, in its order."""
    if isinstance(value, dict):
        return list(value.items())
    return [(str(place), number) for place, number in enumerate(value if isinstance(value, list) else [value])]
