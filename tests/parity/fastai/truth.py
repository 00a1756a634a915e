"""What FastAI says: trains a learner, exports it as people do, and writes what `learn.predict` makes of odd inputs.

    python truth.py NAME FOLDER

leaves in FOLDER: export.pkl, samples/ (what `scripts/export_fastai.py` gets as `--sample`), inputs/ and answers.json.
The learner that answers is the one that was read back from export.pkl.
"""

import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

from pictures import odd_files
from rows import as_json, draw_rows, odd_rows

MIXED_SEED = 40_000
SAMPLES = ("subsampled.jpg", "palette.png")


def prepare(name: str, folder: Path) -> None:
    from fastai.learner import load_learner

    from learners import RECIPES

    warnings.filterwarnings("ignore")
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("inputs", "samples"):
        (folder / part).mkdir(parents=True)
    recipe = RECIPES[name]
    recipe.trained(folder).export(folder / "export.pkl")
    learn = load_learner(folder / "export.pkl")
    with learn.no_bar(), learn.no_logging():
        answers = row_answers(learn, recipe, folder) if recipe.kind.startswith("row") else file_answers(learn, recipe, folder)
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "answers.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def file_answers(learn, recipe, folder: Path) -> list[dict]:
    answers = []
    for name, content in odd_files(MIXED_SEED).items():
        file = folder / "inputs" / name
        file.write_bytes(content)
        if name in SAMPLES:
            shutil.copy(file, folder / "samples")
        answers.append({"input": f"inputs/{name}", **told(learn, recipe, learn.predict(file), folder, name)})
    return answers


def row_answers(learn, recipe, folder: Path) -> list[dict]:
    draw_rows(3, 77).drop(columns=["label", "price"]).to_csv(folder / "samples/rows.csv", index=False)
    frame, answers = odd_rows(MIXED_SEED).drop(columns=["label", "price"]), []
    for number in range(len(frame)):
        row = frame.iloc[number]
        file = folder / "inputs" / f"row-{number:02d}.json"
        file.write_text(json.dumps(as_json(row)), encoding="utf-8")
        answers.append({"input": f"inputs/{file.name}", **told(learn, recipe, learn.predict(row), folder, file.name)})
    return answers


def told(learn, recipe, predicted, folder: Path, name: str) -> dict:
    """What one answer of `learn.predict` says, as plain data; a mask goes to a file of a byte a pixel."""
    decoded, _, raw = predicted
    if recipe.kind == "mask":
        mask = np.asarray(decoded).astype(np.uint8)
        file = folder / "inputs" / f"{name}.mask"
        file.write_bytes(mask.tobytes())
        return {"mask": f"inputs/{file.name}", "shape": list(mask.shape)}
    values = [float(v) for v in np.asarray(raw, dtype=np.float64).reshape(-1)]
    if recipe.kind in ("numbers", "row number"):
        return {"numbers": values}
    names = [str(v) for v in learn.dls.vocab]
    probabilities = dict(zip(names, values, strict=True))
    if recipe.kind == "row label":
        said = [names[int(predicted[1])]]
    else:
        said = [str(v) for v in decoded] if recipe.kind == "labels" else [str(decoded)]
    return {"labels": said, "probabilities": probabilities}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    prepare(args.name, args.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
