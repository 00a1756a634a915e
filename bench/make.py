#!/usr/bin/env python3
"""Makes what the bench asks with: networks of seeded random weights in both forms, images, and the right answers.

usage: make.py [--kept]

Needs PyTorch, torchvision, ONNX, NumPy and Pillow; the environment of the peer torchserve has them. What is large goes
to the user's cache. With --kept what is small is written into bench/material anew, where it is committed.

A right answer is PyTorch's, of the TorchScript file and of pixels that Pillow decoded and resized, in the plainest words.
"""

import argparse
import base64
import io
import json
import sys
import warnings
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "lib"), str(HERE.parent / "examples/street_scenes")]

import jobs  # noqa: E402

SCENE_SEED = 3_000_004  # training uses seeds below 2,000,000
OPSET = 17


def networks():
    """Name to network, with the sides of its input."""
    import torch
    from torch import nn

    class Averages(nn.Module):
        def forward(self, input):
            return input.mean((2, 3))

    def seeded(seed, make):
        torch.manual_seed(seed)
        return make().eval()

    def classifier():
        from torchvision.models import resnet18

        network = resnet18(weights=None)
        # Random weights give all classes nearly the same share; five of them are to win clearly.
        network.fc.weight.data *= 10
        return network

    return {
        "linear": lambda: seeded(1, lambda: nn.Linear(4, 3)),
        "pooled": lambda: seeded(2, lambda: nn.Sequential(nn.AvgPool2d((24, 32)), nn.Flatten(), nn.Linear(48, 4))),
        "tabular": lambda: seeded(3, lambda: nn.Sequential(
            nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))),
        "averages": lambda: seeded(4, Averages),
        "resnet18": lambda: seeded(5, classifier),
    }


def write_network(network, make):
    """Both files of one network, of the same weights."""
    import torch

    module, example = make(), torch.zeros(2, *network.shape)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer exporter, which needs another package
        torch.jit.save(torch.jit.trace(module, example), str(network.file("torchscript")))
        torch.onnx.export(
            module, (example,), str(network.file("onnx")), dynamo=False, opset_version=OPSET, input_names=[network.input],
            output_names=[network.output], dynamic_axes={network.input: {0: "batch"}, network.output: {0: "batch"}},
        )


def write_image(file):
    """A scene of the example's maker: grain, gradients and hard edges, as a photograph has."""
    import scenes
    from PIL import Image

    width, height = (int(side) for side in file.stem.rsplit("-", 1)[1].split("x"))
    image = Image.fromarray(scenes.make(SCENE_SEED, (width, height))[0])
    if file.suffix == ".png":
        image.save(file, optimize=True)
    else:
        image.save(file, quality=90, subsampling="4:2:0")


def tensor_of(job):
    """What the network gets for this job, with a batch's side."""
    import numpy as np
    import torch
    from PIL import Image

    if not job.is_image():
        return torch.tensor(job.nested(), dtype=torch.float32)[None]
    told = job.input
    image = Image.open(io.BytesIO(told.file.read_bytes())).convert("RGB")
    (height, width), bilinear = told.size, Image.Resampling.BILINEAR
    if told.resize == "shorter":
        from torchvision.transforms import CenterCrop, Resize

        image = Resize(height)(image)
        image = CenterCrop(told.crop)(image)
    else:
        image = image.resize((width, height), bilinear)
    levels = np.asarray(image).astype(np.float32) / 255
    normal = (levels - np.asarray(told.mean, np.float32)) / np.asarray(told.std, np.float32)
    return torch.from_numpy(normal.transpose(2, 0, 1).copy())[None]


def expected(job):
    import torch

    with torch.inference_mode():
        scores = torch.jit.load(str(job.network.file("torchscript")))(tensor_of(job))[0]
    if job.answer == "mask":
        classes = scores.argmax(0).to(torch.uint8).numpy()
        height, width = classes.shape
        pixels = base64.b64encode(zlib.compress(classes.tobytes(), 9)).decode("ascii")
        return {"height": height, "width": width, "zlib_pixels": pixels}
    if job.answer == "classes":
        shares, places = scores.softmax(0).topk(job.top)
        return {str(place): share for place, share in zip(places.tolist(), shares.tolist(), strict=True)}
    return scores.flatten().tolist()


def write(kept):
    """Everything that belongs into the one folder or the other and is not there; all of what is kept."""
    folder = jobs.MATERIAL if kept else jobs.MADE
    folder.mkdir(parents=True, exist_ok=True)
    makers = networks()
    wanted = [job for job in jobs.JOBS if (job.expected_file().parent == folder)]
    for network in {job.network.name: job.network for job in jobs.JOBS if job.network.folder == folder}.values():
        print(f"make: {network.name}", file=sys.stderr)
        write_network(network, makers[network.name])
    for file in sorted({job.input.file for job in jobs.JOBS if job.is_image() and job.input.file.parent == folder}):
        print(f"make: {file.name}", file=sys.stderr)
        write_image(file)
    for job in wanted:
        print(f"make: the right answer of {job.name}", file=sys.stderr)
        job.expected_file().write_text(json.dumps(expected(job)) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", action="store_true")
    write(parser.parse_args().kept)


if __name__ == "__main__":
    main()
