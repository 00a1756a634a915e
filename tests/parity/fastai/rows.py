"""Made rows of a table, with every kind of column and with holes, to train on and to ask about."""

import math

import numpy as np
import pandas as pd

CATEGORIES = ["work", "grade", "married"]
NUMBERS = ["age", "hours", "debt"]
WORK = [" Private", " State-gov", "Self/own", "-"]


def draw_rows(count: int, seed: int) -> pd.DataFrame:
    """Rows whose label and price follow from their columns; of `age` and `work` some are missing."""
    rng = np.random.Generator(np.random.PCG64(seed))
    frame = pd.DataFrame({
        "age": rng.integers(17, 90, count).astype(float),
        "hours": rng.normal(38, 11, count).round(1),
        "debt": rng.lognormal(5, 1.5, count).round(2),
        "work": rng.choice(WORK, count),
        "grade": rng.integers(1, 6, count),
        "married": rng.random(count) < 0.5,
    })
    score = frame.age / 30 + frame.grade - frame.hours / 20 + 1.5 * frame.married + (frame.work == " Private")
    score += rng.normal(0, 0.3, count)
    frame["label"] = np.where(score > 6.5, ">=50k", np.where(score > 4.5, "middle", "<50k"))
    frame["price"] = (100 + 20 * score).round(2)
    frame.loc[rng.random(count) < 0.12, "age"] = np.nan
    frame.loc[rng.random(count) < 0.12, "work"] = None
    return frame


def odd_rows(seed: int) -> pd.DataFrame:
    """Rows like those of the training, rows with holes, with categories never seen and with extreme numbers."""
    frame = draw_rows(24, seed)
    frame.loc[3, "age"] = np.nan
    frame.loc[4, "work"] = None
    frame.loc[5, ["age", "work"]] = [np.nan, None]
    frame.loc[6, "work"] = "Never seen"
    frame.loc[7, "grade"] = 9
    frame.loc[8, "work"] = "Private"  # without the blank: another category
    frame.loc[9, "age"] = 400.0
    frame.loc[10, "debt"] = 1e7
    frame.loc[11, "hours"] = -3.25
    frame.loc[12, "debt"] = 0.0
    return frame


def as_json(row: pd.Series) -> dict:
    """What a client sends for a row: columns by name, what is missing as null."""
    sent = {}
    for name in CATEGORIES + NUMBERS:
        value = row[name]
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        sent[name] = None if missing else value.item() if isinstance(value, np.generic) else value
    return sent
