"""The weights of resnet18.onnx: random ones from a fixed seed, as NumPy alone makes them.

    python resnet_weights.py FOLDER           # resnet18.onnx and resnet18.weights, side by side

torchvision's ResNet-18 has 45 MB of weights, so that the repository holds its graph alone, which says where in
resnet18.weights each of them lies. Their scale is such that signals neither die nor grow from layer to layer.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

GRAPH = Path(__file__).with_name("resnet18.onnx")
FILE = "resnet18.weights"
CLASSES = 1000

Shape = tuple[int, ...]


def norm(name: str, planes: int) -> Iterator[tuple[str, Shape]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (planes,)


def layout() -> Iterator[tuple[str, Shape]]:
    """Every weight of the network by torchvision's name, in the order of the file."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    before = 64
    for layer, planes in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            yield f"{name}.conv1.weight", (planes, before, 3, 3)
            yield from norm(f"{name}.bn1", planes)
            yield f"{name}.conv2.weight", (planes, planes, 3, 3)
            yield from norm(f"{name}.bn2", planes)
            if before != planes:
                yield f"{name}.downsample.0.weight", (planes, before, 1, 1)
                yield from norm(f"{name}.downsample.1", planes)
            before = planes
    yield "fc.weight", (CLASSES, before)
    yield "fc.bias", (CLASSES,)


def made(name: str, shape: Shape, draw: np.random.Generator) -> np.ndarray:
    part = name.rsplit(".", 1)[1]
    if len(shape) > 1:  # He's scale, for what comes out of a ReLU
        return draw.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if part == "running_var":
        return draw.random(shape, np.float32) + np.float32(1)
    if part == "weight":
        return draw.random(shape, np.float32) / 2 + np.float32(0.5)
    return draw.standard_normal(shape, np.float32) / 10


def write(folder: Path) -> Path:
    """The network in this folder, graph and weights; where it is."""
    draw = np.random.default_rng(18)
    with open(folder / FILE, "wb") as file:
        for name, shape in layout():
            file.write(made(name, shape, draw).astype("<f4").tobytes())
    return Path(shutil.copy(GRAPH, folder))


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
