"""How something grows: a line through what was measured, whether the measured bends up from it, and a part of the report
that tells so. Standard library alone."""

import math
import statistics
from dataclasses import dataclass, field

# The 97.5th percentile of Student's distribution by degrees of freedom; beyond them the normal distribution's is near.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 10: 2.23, 12: 2.18, 14: 2.14,
           16: 2.12, 18: 2.10, 20: 2.09, 25: 2.06, 30: 2.04}


@dataclass
class Line:
    """The straight line of the least squares. The slope lies within `half` of `slope` 95 times in 100, where what strays
    around the line strays independently."""

    start: float
    slope: float
    half: float

    def at(self, x):
        return self.start + self.slope * x


def line(xs, ys):
    if len(set(xs)) < 2:
        raise ValueError("a line needs two places")
    middle, level = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - middle) ** 2 for x in xs)
    slope = sum((x - middle) * (y - level) for x, y in zip(xs, ys)) / spread
    start = level - slope * middle
    free = len(xs) - 2
    if free == 0:
        return Line(start, slope, math.inf)
    rest = sum((y - start - slope * x) ** 2 for x, y in zip(xs, ys))
    return Line(start, slope, student(free) * math.sqrt(rest / free / spread))


def student(free):
    return STUDENT[max(known for known in STUDENT if known <= free)] if free <= 40 else 1.96


def blocks(xs, ys, count):
    """The middles of so many stretches of equal length: neighbours among samples of one process are alike, and a line
    through all of them would claim to know more than it does."""
    size = len(xs) / count
    cut = [slice(round(number * size), round((number + 1) * size)) for number in range(count)]
    return [statistics.median(xs[part]) for part in cut], [statistics.median(ys[part]) for part in cut]


def bends(xs, ys, noise, most=2.0):
    """Whether the largest is above `most` times what a line through the lower half foretells, and `noise`; the foretold.

    The line goes through what was measured up to half of the largest place, two places at least."""
    lower = [pair for pair in zip(xs, ys) if pair[0] <= max(xs) / 2]
    if len({x for x, _ in lower}) < 2:
        lower = sorted(zip(xs, ys))[:2]
    foretold = line(*zip(*lower)).at(max(xs))
    measured = ys[xs.index(max(xs))]
    return measured > most * max(foretold, 0) + noise, foretold


@dataclass
class Series:
    """One line of a chart."""

    name: str
    xs: list
    ys: list


@dataclass
class Chart:
    name: str
    title: str
    across: str
    up: str
    series: list
    logarithmic: str = ""  # the axes that are: "x", "y" or "xy"
    points: bool = True


@dataclass
class Part:
    """What one part of the measurement found."""

    name: str
    title: str
    columns: list
    rows: list = field(default_factory=list)
    before: str = ""
    slopes: list = field(default_factory=list)
    charts: list = field(default_factory=list)
    # What may not be, even in a run that is too short for figures.
    broken: list = field(default_factory=list)
    # What grows in a way that it should not.
    steep: list = field(default_factory=list)

    def linear(self, what, xs, ys, unit, noise, most=2.0):
        """Notes it where this grows faster than a line."""
        bent, foretold = bends(xs, ys, noise, most)
        if bent:
            self.steep.append(f"{what} is {ys[xs.index(max(xs))]:.2f} {unit} at {max(xs):g}, and {foretold:.2f} {unit}"
                              " were to be expected of those below")

    def flat(self, what, first, last, unit, noise, most=1.5):
        """Notes it where what should not grow does."""
        if last > most * first + noise:
            self.steep.append(f"{what} goes from {first:.2f} to {last:.2f} {unit}")

    def text(self, folder):
        """The part of the document."""
        lines = [f"### {self.title}", "", self.before, "", markdown(self.columns, self.rows), ""]
        lines += [f"- {slope}" for slope in self.slopes] + [""]
        lines += [f"![{chart.title}]({folder}/{chart.name}.svg)" for chart in self.charts] + [""]
        return "\n".join(lines)


def markdown(columns, rows):
    """A table; numbers stand to the right."""
    cells = [columns, ["---"] + ["---:"] * (len(columns) - 1), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def size(count):
    """Bytes in words."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def milliseconds(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
