"""Writes what is known of the example's scene, as a record that `mar pack --expect` takes.

    python make.py            # writes into the folder of this script

The scene, FastAI's own tensor of it and the mask of `learn.predict` are the files of
examples/street_scenes/sample; this adds what Pillow decodes and what PyTorch gives for that tensor.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "examples/street_scenes"
SCENE = EXAMPLE / "sample/scene.png"
# What FastAI's learners of pretrained networks normalise with; the labels are those of the learner's vocab.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
LABELS = ["sky", "building", "road", "sidewalk", "car", "tree", "pedestrian"]
PLACES = 256


def tensor(array, copy=None):
    """A tensor's digest and channels' means, and its compact copy in a file."""
    if copy:
        is_float = array.dtype == np.float32
        (HERE / copy).write_bytes((array.astype(np.float16) if is_float else array).tobytes())
    pixels = (1, 2) if array.dtype == np.float32 else (0, 1)
    known = {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        "channel_means": array.mean(axis=pixels, dtype=np.float64).tolist(),
    }
    return known | ({"copy": copy} if copy else {})


def summary(array):
    """What is kept of an output: moments, and values at places spread over it."""
    flat = array.reshape(-1).astype(np.float64)
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "min": flat.min(),
        "max": flat.max(),
        "mean": flat.mean(),
        "std": flat.std(),
        "values": [flat[k * flat.size // PLACES] for k in range(PLACES)],
    }


def main():
    plain = np.load(f"{SCENE}.input.npy")
    levels = np.rint(plain.transpose(1, 2, 0) * 255).astype(np.uint8)
    normalised = (plain - MEAN) / STD
    network = torch.jit.load(EXAMPLE / "fastunet.pt").eval()
    with torch.no_grad():
        output = network(torch.from_numpy(normalised)[None])[0].numpy()
    mask = np.asarray(Image.open(f"{SCENE}.mask.png"))
    assert mask.dtype == np.uint8 and (output.argmax(0) == mask).mean() > 0.9999
    (HERE / "scene.mask.bin").write_bytes(mask.tobytes())
    (HERE / "scene.labels.json").write_text(
        json.dumps({"labels": LABELS, "shape": list(mask.shape), "dtype": "uint8"}) + "\n", encoding="utf-8"
    )
    answers = [
        {"file": "scene.labels.json", "content_type": "application/json"},
        {
            "query": [["format", "raw"]],
            "file": "scene.mask.bin",
            "content_type": "application/octet-stream",
            "agreement": 0.999,
        },
    ]
    record = {
        "known_answers": 1,
        "made_by": f"fastai 2.8.12, torch {torch.__version__}, Pillow {PIL.__version__}, numpy {np.__version__}",
        "stages": [
            {"stage": "decode", "tensors": [tensor(np.asarray(Image.open(SCENE).convert("RGB")))]},
            {"stage": "resize", "tensors": [tensor(levels, "scene.resize.u8")]},
            {"stage": "normalise", "tensors": [tensor(normalised, "scene.normalise.f16")]},
        ],
        "output": [summary(output)],
        "answers": answers,
    }
    (HERE / "scene.record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
