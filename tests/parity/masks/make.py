"""Writes masks.json: masks, their run lengths by pycocotools, their boxes and areas, polygons, and the heads of
NumPy's files.

    python make.py            # writes into the folder of this script

Masks are computed, a byte a pixel, and kept as the hexadecimal digits of their rows. Polygons are written by hand, and written
down only if pycocotools fills them to exactly the mask.
"""

import io
import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco
from importlib.metadata import version

HERE = Path(__file__).parent


def random(height, width, classes, block, seed):
    draw = np.random.RandomState(seed)
    small = draw.randint(0, classes, (-(-height // block), -(-width // block)), dtype=np.uint8)
    return np.kron(small, np.ones((block, block), np.uint8))[:height, :width]


def full(height, width, value):
    return np.full((height, width), value, np.uint8)


def discs(height, width):
    y, x = np.mgrid[0:height, 0:width]
    mask = full(height, width, 0)
    for number, (cy, cx, r) in enumerate([(0.3, 0.3, 0.35), (0.6, 0.7, 0.3), (0.5, 0.5, 0.1), (0.9, 0.1, 0.2)]):
        mask[(y - cy * height) ** 2 + (x - cx * width) ** 2 < (r * min(height, width)) ** 2] = number + 1
    return mask


def masks():
    yield "one pixel of class 0", full(1, 1, 0)
    yield "one pixel of class 255", full(1, 1, 255)
    yield "one class", full(37, 29, 3)
    yield "a row", random(1, 90, 2, 3, 1)
    yield "a column", random(90, 1, 2, 3, 2)
    yield "stripes down", np.tile(np.uint8([0, 1, 2]), (17, 23))
    yield "stripes across", np.tile(np.uint8([[0], [1], [2]]), (23, 17))
    yield "a chequerboard", np.uint8(np.indices((31, 33)).sum(0) % 2)
    yield "noise of 2 classes", random(40, 50, 2, 1, 3)
    yield "noise of 7 classes", random(65, 64, 7, 1, 4)
    yield "noise of 256 classes", random(30, 130, 256, 1, 5)
    yield "blocks of 21 classes", random(96, 128, 21, 11, 6)
    yield "discs", discs(120, 200)
    long = full(300, 300, 0)  # runs of some ten thousand pixels: four groups of five bits
    long[:, 150:] = 1
    long[299, 299] = 2
    yield "long runs", long


def coco_rle(binary):
    made = coco.encode(np.asfortranarray(binary))
    return {"size": made["size"], "counts": made["counts"].decode("ascii")}


def row(name, mask):
    classes = []
    for value in sorted({*np.unique(mask).tolist(), 1}):
        binary = np.uint8(mask == value)
        rle = coco_rle(binary)
        classes.append({
            "class": value, **rle, "area": int(coco.area(rle)), "bbox": [int(v) for v in coco.toBbox(rle)],
        })
    height, width = mask.shape
    return {"name": name, "height": height, "width": width, "mask": text(mask), "classes": classes}


def text(mask):
    return np.ascontiguousarray(mask).tobytes().hex()


# Pictures of one class each, and their polygons: corners of pixels, clockwise, from the first pixel's upper left
# corner; an outline runs to a hole and back along the hole's upper edge.
DRAWN = [
    ("a pixel", ["#"], [[0, 0, 1, 0, 1, 1, 0, 1]]),
    ("an L", ["#.", "##"], [[0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 0, 2]]),
    ("two that touch by a corner are one", ["#.", ".#"], [[0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 1, 2, 1, 1, 0, 1]]),
    ("two that do not touch", ["#.#"], [[0, 0, 1, 0, 1, 1, 0, 1], [2, 0, 3, 0, 3, 1, 2, 1]]),
    ("a ring", ["###", "#.#", "###"], [[0, 0, 3, 0, 3, 3, 0, 3, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 0, 1]]),
    (
        "two holes side by side",
        ["#####", "#.#.#", "#####"],
        [[0, 0, 5, 0, 5, 3, 0, 3, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 3, 1, 3, 2, 4, 2, 4, 1, 3, 1, 2, 1, 1, 1, 0, 1]],
    ),
    (
        "an island in a lake",
        ["#####", "#...#", "#.#.#", "#...#", "#####"],
        [
            [0, 0, 5, 0, 5, 5, 0, 5, 0, 1, 1, 1, 1, 4, 4, 4, 4, 1, 1, 1, 0, 1],
            [2, 2, 3, 2, 3, 3, 2, 3],
        ],
    ),
]


def drawn(name, lines, polygons):
    mask = np.uint8([[c == "#" for c in line] for line in lines])
    height, width = mask.shape
    filled = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width)))
    assert (filled == mask).all(), name
    assert sum(int(coco.area(r)) for r in coco.frPyObjects(polygons, height, width)) == mask.sum(), name
    return {"name": name, "height": height, "width": width, "mask": text(mask), "polygons": polygons}


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue().hex()


def files():
    for height, width in [(1, 1), (3, 5), (96, 2)]:
        values = np.arange(height * width).reshape(height, width)
        yield {
            "height": height, "width": width,
            "uint8": saved(values.astype(np.uint8)), "float32": saved((values / 7).astype("<f4")),
        }


def main():
    versions = {"numpy": np.__version__, "pycocotools": version("pycocotools")}
    tables = {
        "masks": [row(*case) for case in masks()],
        "polygons": [drawn(*case) for case in DRAWN],
        "npy": list(files()),
    }
    with open(HERE / "masks.json", "w", encoding="utf-8") as out:
        out.write('{\n"versions": ' + json.dumps(versions))
        for name, rows in tables.items():
            out.write(f',\n"{name}": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]")
        out.write("\n}\n")


if __name__ == "__main__":
    main()
