"""Trains small scikit-learn models, exports them with skl2onnx, and writes what scikit-learn itself predicts.

Made with the packages of requirements.txt. Beside this file, for each model: NAME.onnx, where it is a classifier
NAME_zipmap.onnx as the exporter makes it by default (a dictionary of probabilities a row), and NAME.json.gz with 1,000
rows as clients send them, and the labels and probabilities that `predict` and `predict_proba` give. ONNX Runtime has no
part in those numbers; how far it is from them is printed.

Trees branch halfway between two numbers that they were trained with. scikit-learn scales columns in double precision
and the exported network in single, so a row that lies on such an edge may go the other way; of rows drawn like those
that trained the forest behind a scaler three in a thousand did. Here none lies there: rows that are asked stand on odd
places of a grid whose edges are on even ones. All numbers are those of single precision.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
ROWS = 1000
SEED = 20261126


def steps(numbers: np.ndarray, asked: bool) -> np.ndarray:
    """Sixteenths to train with, whose halves are 32nds; odd 64ths to ask."""
    sixteenths = np.round(numbers * 16) / 16
    return (sixteenths + 1 / 64 * asked).astype(np.float32)


def matrix(random: np.random.Generator, rows: int, asked: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Four numbers a row, and a class of three, which is not always to be told from them."""
    numbers = steps(random.normal(size=(rows, 4)), asked)
    score = numbers[:, 0] - 0.5 * numbers[:, 1] ** 2 + random.normal(scale=0.3, size=rows)
    return numbers, np.digitize(score, [-0.8, 0.3])


def people(random: np.random.Generator, rows: int, asked: bool = False) -> tuple[pd.DataFrame, np.ndarray]:
    """A data frame of all kinds of columns, one with holes, and what somebody earns."""
    hours = steps(random.normal(38, 8, rows), asked)
    frame = pd.DataFrame({
        # Fours to train with, whose halves are even; odd ones to ask.
        "age": random.integers(5, 20, rows) * 4 + asked,
        "hours": np.where(random.random(rows) < 0.1, np.nan, hours).astype(np.float32),
        "work": random.choice(["Private", "State gov", "Self-employed", "Behörde"], rows),
        "city": random.choice(["Paris", "Oslo", "Roma"] + ["never seen"] * asked, rows),
    })
    score = (frame["age"] - 45) / 15 + (frame["hours"].fillna(30) - 38) / 8 + (frame["work"] == "State gov")
    score += (frame["city"] == "Paris") + random.normal(scale=0.4, size=rows)
    return frame, np.where(score > 0.6, ">50K", "<=50K")


def pipeline(model: Any) -> Pipeline:
    columns = ColumnTransformer([
        ("age", StandardScaler(), ["age"]),
        ("hours", make_pipeline(SimpleImputer(), StandardScaler()), ["hours"]),
        ("words", OneHotEncoder(handle_unknown="ignore"), ["work", "city"]),
    ])
    return Pipeline([("columns", columns), ("model", model)])


def plain(values: Any) -> Any:
    """As JSON has it: null for what is missing, and no more digits than tell single precision apart."""
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    if isinstance(values, (list, np.ndarray)):
        return [plain(value) for value in values]
    if isinstance(values, (float, np.floating)):
        return None if np.isnan(values) else float(f"{values:.9g}")
    return values.item() if isinstance(values, np.generic) else values


def fed(session: ort.InferenceSession, rows: Any) -> dict[str, np.ndarray]:
    if isinstance(rows, np.ndarray):
        return {session.get_inputs()[0].name: rows}
    texts = {name: rows[name].to_numpy() for name in rows}
    return {name: (np.array(column, dtype=object) if column.dtype.kind not in "if" else column)[:, None]
            for name, column in texts.items()}


def save(name: str, model: Any, rows: Any) -> None:
    """`rows`: those to ask, of the kind that it was trained with."""
    classifies = hasattr(model, "predict_proba")
    exported = to_onnx(model, rows[:1], options={"zipmap": False} if classifies else None)
    (HERE / f"{name}.onnx").write_bytes(exported.SerializeToString())
    if classifies:
        (HERE / f"{name}_zipmap.onnx").write_bytes(to_onnx(model, rows[:1]).SerializeToString())
    expected: dict[str, Any] = {"predicted": plain(model.predict(rows))}
    if classifies:
        expected |= {"classes": plain(model.classes_), "probabilities": plain(model.predict_proba(rows))}
    if hasattr(model, "transform") and not classifies:
        expected["distances"] = plain(model.transform(rows))
    sent = rows if isinstance(rows, np.ndarray) else rows.to_dict(orient="records")
    text = json.dumps({"rows": plain(sent)} | expected, ensure_ascii=False, separators=(",", ":"))
    # Without the time, so that the same numbers are the same file.
    (HERE / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))

    session = ort.InferenceSession(exported.SerializeToString())
    answers = session.run(None, fed(session, rows))
    if classifies:
        others = (answers[0] != model.predict(rows)).sum()
        print(name, "labels that differ:", others, "most:", np.abs(answers[1] - model.predict_proba(rows)).max())
    else:
        print(name, "most:", np.abs(answers[0].reshape(-1) - model.predict(rows)).max())


def main() -> None:
    random = np.random.default_rng(SEED)
    forest = {"n_estimators": 20, "max_depth": 6, "random_state": 0}
    trained, kinds = matrix(random, 600)
    asked, _ = matrix(random, ROWS, asked=True)
    # Labels that are neither their places nor as long as each other.
    save("forest", RandomForestClassifier(**forest).fit(trained, np.array([3, 8, -20])[kinds]), asked)
    save("forest_texts", RandomForestClassifier(**forest).fit(trained, np.array(["rot", "grün", "a b"])[kinds]), asked)
    save("regressor", RandomForestRegressor(**forest).fit(trained, trained @ np.array([1, -2, 0.5, 0])), asked)
    save("clusters", KMeans(3, random_state=0, n_init=1).fit(trained), asked)

    trained, earned = people(random, 600)
    asked, _ = people(random, ROWS, asked=True)
    save("people_forest", pipeline(RandomForestClassifier(**forest)).fit(trained, earned), asked)
    save("people_linear", pipeline(LogisticRegression()).fit(trained, earned), asked)


if __name__ == "__main__":
    main()
