"""Writes rows.json: what FastAI's tabular learners give to their network for rows of small tables.

    python make.py            # writes into the folder of this script

The tables are computed and the same library versions write the same bytes. The numbers are those that a hook
sees at the network's entrance while `learn.predict` runs.
"""

import json
import math
from pathlib import Path

import fastai
import numpy as np
import pandas as pd
import torch
from fastai.tabular.all import (
    Categorify,
    FillMissing,
    FillStrategy,
    Normalize,
    RandomSplitter,
    RegressionBlock,
    TabularPandas,
    tabular_learner,
)

HERE = Path(__file__).parent
MISSING = math.nan


def plain(value):
    """A NumPy scalar as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value


def table(rows=64):
    """Every type of column that pandas tells apart, with gaps."""
    n = np.arange(rows)
    return pd.DataFrame({
        "work": [[" Private", " State-gov", "Private", "caf\u00e9 \"x\"", None][i % 5] for i in n],
        "grade": n % 7 - 2,
        "ratio": [[0.1, 1.0, 2.5, MISSING][i % 4] for i in n],
        "member": n % 3 == 0,
        "mixed": [[1, "x", 2.5, "1"][i % 4] for i in n],
        "huge": [[9007199254740993, 9007199254740992, -5][i % 3] for i in n],
        "age": (n * 37 % 60 + 17).astype(np.int64),
        "gain": np.where(n % 5 == 0, MISSING, np.round(np.sin(n) * 1000, 3)),
        "rate": np.where(n % 9 == 4, MISSING, (n % 4) / 3),
        "weight": (n * 0.1 + 1e6).astype(np.float32),
        "target": [["no", "yes"][i % 2] for i in n],
        "price": (n * 1.5).astype(np.float32),
    })


def seen(learn, row):
    """What the network gets while the learner predicts this row."""
    inputs = []
    hook = learn.model.register_forward_pre_hook(lambda _, args: inputs.append(args))
    try:
        with learn.no_bar(), learn.no_logging():
            learn.predict(pd.Series(row))
    finally:
        hook.remove()
    (categorical, continuous), = inputs
    return categorical[0], continuous[0]


def declared(learn):
    """The handler's section, from what the learner holds."""
    procs = {type(proc).__name__: proc for proc in learn.dls.procs.fs}
    fill = procs["FillMissing"].na_dict if "FillMissing" in procs else {}
    means, stds = (procs["Normalize"].means, procs["Normalize"].stds) if "Normalize" in procs else ({}, {})
    categorical = []
    for name in learn.dls.cat_names:
        column = {"name": name, "categories": [plain(value) for value in procs["Categorify"].classes[name].items[1:]]}
        if name.endswith("_na") and name[:-3] in fill:
            column["missing"] = name[:-3]
        categorical.append(column)
    continuous = []
    for name in learn.dls.cont_names:
        column = {"name": name}
        column |= {"fill": plain(fill[name])} if name in fill else {}
        column |= {"mean": plain(means[name]), "std": plain(stds[name])} if name in means else {}
        continuous.append(column)
    return {"columns": {"categorical": categorical, "continuous": continuous}}


CATEGORICAL = ["work", "grade", "ratio", "member"]
CONTINUOUS = ["age", "gain", "rate", "weight"]
ALL = [Categorify, FillMissing, Normalize]
PLAIN = {"work": " Private", "grade": 3, "ratio": 2.5, "member": True, "mixed": "x", "huge": -5, "age": 49,
         "gain": 12.75, "rate": 1 / 3, "weight": 1000003.1, "note": "nobody's column"}
# Changes to the plain row; what is MISSING is left out of the request.
CHANGES = [
    {}, {"work": "Private"}, {"work": " private"}, {"work": None}, {"work": MISSING}, {"work": "#na#"}, {"work": 5},
    {"work": "caf\u00e9 \"x\""}, {"work": True},
    {"grade": 3.0}, {"grade": -2}, {"grade": 77}, {"grade": 2.5}, {"grade": "3"}, {"grade": True}, {"grade": None}, {"grade": -0.0},
    {"ratio": 0.1}, {"ratio": 0.10000000149011612}, {"ratio": 1}, {"ratio": 1.0}, {"ratio": True}, {"ratio": None},
    {"member": False}, {"member": 1}, {"member": 0.0}, {"member": 2}, {"member": "True"}, {"member": None},
    {"mixed": 1}, {"mixed": 1.0}, {"mixed": True}, {"mixed": "1"}, {"mixed": 2.5}, {"mixed": 3},
    {"huge": 9007199254740993}, {"huge": 9007199254740992}, {"huge": 9007199254740992.0}, {"huge": 9007199254740994.0},
    {"age": 49.5}, {"age": -1e-7}, {"age": 123456789012345678}, {"age": True}, {"age": 1e30},
    {"gain": None}, {"gain": MISSING}, {"rate": None}, {"gain": None, "rate": MISSING, "work": None}, {"rate": 0},
    {"weight": 1000000.05}, {"weight": 0.1},
]
TABLES = {
    "median": dict(procs=ALL),
    "constant": dict(procs=[Categorify, FillMissing(FillStrategy.constant, fill_vals={"gain": -1, "rate": 0.1}), Normalize]),
    "mode": dict(procs=[Categorify, FillMissing(FillStrategy.mode), Normalize]),
    "no flags": dict(procs=[Categorify, FillMissing(add_col=False), Normalize]),
    "no fill": dict(procs=[Categorify, Normalize], cont_names=["age", "weight"]),
    "no normalise": dict(procs=[Categorify, FillMissing]),
    "not shrunk": dict(procs=ALL, reduce_memory=False),
    "categories alone": dict(procs=[Categorify], cont_names=[], cat_names=[*CATEGORICAL, "mixed", "huge"]),
    "numbers alone": dict(procs=[Normalize], cat_names=[], cont_names=["age", "weight"]),
    "regression": dict(procs=ALL, y_names="price", y_block=RegressionBlock()),
}


def loaders(procs, cat_names=CATEGORICAL, cont_names=CONTINUOUS, y_names="target", **options):
    df = table()
    splits = RandomSplitter(seed=7)(df)
    return TabularPandas(df, procs, list(cat_names), list(cont_names), y_names, splits=splits, **options).dataloaders(bs=8)


def main():
    torch.manual_seed(0)
    tables = []
    for name, options in TABLES.items():
        learn = tabular_learner(loaders(**options), layers=[4])
        handler = declared(learn)
        columns = {column["name"] for kind in handler["columns"].values() for column in kind}
        rows = []
        for change in CHANGES:
            # pandas reads a row of numbers alone otherwise than one that holds text.
            known = columns | {"note"} if learn.dls.cat_names else columns
            if not set(change) <= known:
                continue
            row = {key: value for key, value in (PLAIN | change).items() if key in known}
            categorical, continuous = seen(learn, row)
            sent = {key: value for key, value in row.items() if value is not MISSING}
            rows.append({"row": sent, "x_cat": categorical.tolist(), "x_cont": continuous.tolist()})
        assert len(rows) > 4, name
        tables.append({"name": name, "handler": handler, "rows": rows})
    versions = {"fastai": fastai.__version__, "pandas": pd.__version__, "numpy": np.__version__, "torch": torch.__version__}
    text = ",\n".join(json.dumps(entry, allow_nan=False) for entry in [{"versions": versions}, *tables])
    (HERE / "rows.json").write_text(f"[{text}]\n")


main()
