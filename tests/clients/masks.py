#!/usr/bin/env python3
"""Reads the served masks of the street scenes with the libraries that their formats are of.

usage: masks.py

Packs the example's network, serves it, and compares every format with the base64 one: PNG by Pillow, files by
NumPy, run lengths and polygons by pycocotools, which also writes the run lengths again. Noise at the network's own
size makes masks that are all edges and holes. Takes the programs that MARSERVE and MAR name, else the release build.
"""

import base64
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/lib"))
from served import ROOT, Client, Server, pack  # noqa: E402

EXAMPLE = ROOT / "examples/street_scenes"
CROP = """
handler:
  size: [64, 64]
  resize: crop
  labels: [sky, building, road, sidewalk, car, tree, pedestrian]
"""
NATIVE = "handler: {}\n"


class Model:
    """One model of a server, asked for masks of one image."""

    def __init__(self, server, name, image):
        self.client, self.name, self.image = Client(server.inference), name, image

    def ask(self, query="", **headers):
        answer = self.client.ask("POST", f"/predictions/{self.name}?{query}", self.image, headers)
        if answer.status != 200:
            raise ValueError(f"{self.name}?{query}: {answer.status} {answer.body[:300]}")
        if answer.headers["x-parity"] != "exact":
            raise ValueError(f"{self.name}?{query}: {answer.headers}")
        return answer

    def mask(self, query=""):
        told = self.ask(query).json()
        return told, np.frombuffer(base64.b64decode(told["base64_prediction"]), told["dtype"]).reshape(told["shape"])


def same(what, got, expected):
    if not np.array_equal(got, expected):
        raise ValueError(f"{what}: {got} is not {expected}")


def check_pixels(model, also=""):
    """PNG, NumPy's file and bytes against base64; both ways to ask for them."""
    told, mask = model.mask(also)
    image = Image.open(io.BytesIO(model.ask(f"format=png&{also}").body))
    same("mode", image.mode, "P")
    same("PNG", np.asarray(image), mask)
    same("palette", np.reshape(image.getpalette(), (-1, 3))[: len(told["palette"])], told["palette"])
    same("npy", np.load(io.BytesIO(model.ask(f"format=npy&{also}").body)), mask)
    raw = model.ask(f"format=raw&{also}")
    shape = [int(side) for side in raw.headers["x-shape"].split(",")]
    same("raw", np.frombuffer(raw.body, raw.headers["x-dtype"]).reshape(shape), mask)
    same("geometry", json.loads(raw.headers["x-geometry"]), told["geometry"])
    numbers = json.dumps([str(number) for number in range(len(told["labels"]))])
    same("labels", json.loads(raw.headers.get("x-labels", numbers)), told["labels"])
    for accept, query in (("image/png", "png"), ("application/x-npy", "npy"), ("application/octet-stream", "raw")):
        same(accept, model.ask(also, accept=accept).body, model.ask(f"format={query}&{also}").body)
    return mask


def check_coco(model, mask, also=""):
    """Run lengths, polygons and areas against the mask."""
    height, width = mask.shape
    classes = np.unique(mask).tolist()
    runs = model.ask(f"format=rle&{also}").json()["rle"]
    same("classes of rle", [entry["class"] for entry in runs], classes)
    for entry in runs:
        binary = np.asfortranarray(mask == entry["class"], dtype=np.uint8)
        same("rle, decoded", coco.decode(entry), binary)
        same("rle, encoded", entry["counts"], coco.encode(binary)["counts"].decode())
    polygons = model.ask(f"format=polygons&{also}").json()["polygons"]
    same("classes of polygons", [entry["class"] for entry in polygons], classes)
    objects = 0
    for entry in polygons:
        outlines = coco.frPyObjects([one["segmentation"][0] for one in entry["objects"]], height, width)
        same("polygons, filled", coco.decode(coco.merge(outlines)), np.uint8(mask == entry["class"]))
        same("areas of polygons", [one["area"] for one in entry["objects"]], coco.area(outlines))
        same("boxes of polygons", [one["bbox"] for one in entry["objects"]], coco.toBbox(outlines))
        objects += len(outlines)
    told, _ = model.mask(f"confidence=true&{also}")
    confidence = np.frombuffer(base64.b64decode(told["base64_confidence"]), told["confidence_dtype"]).reshape(mask.shape)
    same("confidence", np.load(io.BytesIO(model.ask(f"format=npy&map=confidence&{also}").body)), confidence)
    if confidence.min() < 0 or confidence.max() > 1:
        raise ValueError(f"confidence from {confidence.min()} to {confidence.max()}")
    for area in model.ask(f"format=areas&confidence=true&{also}").json()["areas"]:
        binary = mask == area["class"]
        same("pixels", area["pixels"], binary.sum())
        same("share", area["share"], binary.mean())
        if binary.any():
            same("box", area["bbox"], coco.toBbox(coco.encode(np.asfortranarray(binary, dtype=np.uint8))))
            if abs(area["confidence"] - confidence[binary].mean(dtype=np.float64)) > 1e-6:
                raise ValueError(f"confidence {area['confidence']}, not {confidence[binary].mean()}")
    return objects


def check_geometry(model):
    """The mask in the original's pixels against the formula of docs/masks.md."""
    told, mask = model.mask()
    crop, window, places = (told["geometry"][name] for name in ("crop", "window", "scaled"))
    expected = np.full(told["geometry"]["original"], 255, np.uint8)
    for y, x in np.ndindex(expected.shape):
        scaled_y = (y + 0.5 - crop["top"]) * places[0] / crop["height"]
        scaled_x = (x + 0.5 - crop["left"]) * places[1] / crop["width"]
        at = int(np.floor(scaled_y)) - window["top"], int(np.floor(scaled_x)) - window["left"]
        if all(0 <= side < bound for side, bound in zip(at, mask.shape)):
            expected[y, x] = mask[at]
    same("size=original", model.mask("size=original&fill=255")[1], expected)
    if (expected == 255).all() or expected.shape == mask.shape:
        raise ValueError("the geometry changes nothing, so nothing was tested")


def check_overlay(model, opacity):
    """The overlay against the same arithmetic on what Pillow reads."""
    told, mask = model.mask("size=original")
    below = np.asarray(Image.open(io.BytesIO(model.image)).convert("RGB"), np.float64)
    colours = np.asarray(told["palette"], np.float64)[mask]
    answer = model.ask(f"format=overlay&size=original&opacity={opacity}")
    over = np.asarray(Image.open(io.BytesIO(answer.body)))
    worst = np.abs(over - (below + (colours - below) * opacity)).max()
    if over.shape != below.shape or worst > 0.51:
        raise ValueError(f"the overlay is {worst} levels off")


def encoded(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def main() -> int:
    draw = np.random.RandomState(7)
    scene = (EXAMPLE / "sample/scene.png").read_bytes()
    noises = [encoded(draw.randint(0, 256, (*size, 3), dtype=np.uint8)) for size in ((96, 128), (65, 130), (129, 33))]
    models = {"scenes": (EXAMPLE / "model-config.yaml").read_text(encoding="utf-8"), "crop": CROP, "native": NATIVE}
    with tempfile.TemporaryDirectory() as store:
        for name, config in models.items():
            pack(store, name, config)
        with Server(store, [f"{name}.mar" for name in models]) as server:
            objects = 0
            for name, images in (("scenes", [scene, *noises]), ("crop", [scene]), ("native", noises)):
                for image in images:
                    model = Model(server, name, image)
                    for also in ("", "size=original"):
                        objects += check_coco(model, check_pixels(model, also), also)
            check_geometry(Model(server, "crop", scene))
            check_overlay(Model(server, "scenes", scene), 0.25)
            one, car = Model(server, "scenes", scene), 4
            same("one class", one.mask("class=car")[1], one.mask()[1] == car)
    if objects < 1000:
        raise ValueError(f"only {objects} polygons were compared")
    print(f"{objects} polygons and all formats are what Pillow, NumPy and pycocotools read")
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
