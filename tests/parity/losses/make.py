"""Writes losses.json: what FastAI's losses make of a network's output, for `learn.predict`.

    python make.py            # writes into the folder of this script

`get_preds` gives the loss's activation of the output, and its decodes of that.
"""

import json
from pathlib import Path

import fastai
import numpy as np
import torch
from fastai.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLossFlat,
    LabelSmoothingCrossEntropyFlat,
)

HERE = Path(__file__).parent


def rows(classes):
    """Scores of a few networks: near each other, far from each other, alike."""
    drawn = np.random.RandomState(classes).randn(6, classes) * [[0.01], [1], [3], [10], [40], [90]]
    edge = [np.zeros(classes), np.r_[np.zeros(classes - 1), 1.0], np.linspace(-1, 1, classes)[::-1]]
    return torch.tensor(np.vstack([drawn, edge]), dtype=torch.float32)


def entry(name, loss, output, **more):
    activated = loss.activation(output)
    return {"loss": name, "output": output.tolist(), "activated": activated.tolist(), "decoded": loss.decodes(activated).tolist()} | more


def main():
    single = [
        entry("CrossEntropyLossFlat", CrossEntropyLossFlat(), rows(5)),
        entry("CrossEntropyLossFlat of two", CrossEntropyLossFlat(), rows(2)),
        entry("FocalLossFlat", FocalLossFlat(gamma=1.5), rows(5)),
        entry("LabelSmoothingCrossEntropyFlat", LabelSmoothingCrossEntropyFlat(eps=0.2), rows(5)),
    ]
    several = [
        entry("BCEWithLogitsLossFlat", BCEWithLogitsLossFlat(thresh=thresh), rows(classes), threshold=thresh)
        for thresh in (0.5, 0.3, 0.9, 0.0)
        for classes in (5, 1)
    ]
    masks = [
        entry("BCEWithLogitsLossFlat", BCEWithLogitsLossFlat(axis=1, thresh=thresh), rows(24).reshape(9, 1, 4, 6), threshold=thresh)
        for thresh in (0.5, 0.3, 0.9)
    ]
    versions = {"fastai": fastai.__version__, "numpy": np.__version__, "torch": torch.__version__}
    tables = {"versions": versions, "single": single, "several": several, "masks": masks}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(table, allow_nan=False)}" for name, table in tables.items())
    (HERE / "losses.json").write_text("{" + text + "}\n")


main()
