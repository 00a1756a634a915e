"""One scene never trained on, with what FastAI itself makes of it: what a server's answer is held against.

For scene.jpg and scene.png each: the mask of `learn.predict`, and the tensor of FastAI's own data loader,
scaled to 0..1 but before normalisation. A JPEG and a PNG, because decoders differ on the one only.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from fastai.vision.all import Learner, Normalize, Pipeline, load_learner
from PIL import Image

import scenes
from evaluate import class_iou, confusion, nearest
from network import INPUT, MODELS

HERE = Path(__file__).parent


def input_of(learn: Learner, image: Path) -> np.ndarray:
    """The item and batch transforms of the learner's data loader, its Normalize left out, [3, H, W] in 0..1."""
    loader = learn.dls.test_dl([image], num_workers=0)
    normalized = loader.one_batch()[0]
    normalize = next(t for t in loader.after_batch.fs if isinstance(t, Normalize))
    loader.after_batch = Pipeline([t for t in loader.after_batch.fs if t is not normalize])
    plain = loader.one_batch()[0]
    # the transform left out must be the only difference
    again = (plain.as_subclass(torch.Tensor) - normalize.mean) / normalize.std
    assert torch.equal(again, normalized.as_subclass(torch.Tensor))
    tensor = plain.as_subclass(torch.Tensor)[0].numpy()
    # not whole levels: the flip that is off outside training still samples the picture at its own pixels
    levels = tensor * 255
    assert tensor.shape == (3, *INPUT) and np.abs(levels - levels.round()).max() < 0.01
    return tensor


def overlay(image: np.ndarray, mask: np.ndarray, strength: float = 0.5) -> Image.Image:
    """The mask's colours over the picture, at the picture's size."""
    height, width = image.shape[:2]
    colours = np.array(scenes.PALETTE, np.float32)[nearest(mask, (width, height))]
    return Image.fromarray((image * (1 - strength) + colours * strength + 0.5).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learner", type=Path, default=MODELS / "export.pkl")
    parser.add_argument("--seed", type=int, default=3_000_002, help="of the scene; training uses seeds below 2,000,000")
    # no multiple of the network's size, nor of a JPEG block, so that decoding and resize are put to the test
    parser.add_argument("--size", default="500x375", help="WIDTHxHEIGHT of the scene")
    parser.add_argument("--out", type=Path, default=HERE / "sample")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    width, height = (int(n) for n in args.size.split("x"))
    image, truth = scenes.make(args.seed, (width, height))
    Image.fromarray(image).save(args.out / "scene.png", optimize=True)
    Image.fromarray(image).save(args.out / "scene.jpg", quality=90, subsampling="4:2:0")
    scenes.palette_image(truth).save(args.out / "truth.png", optimize=True)

    learn = load_learner(args.learner, cpu=True)
    for name in ("scene.png", "scene.jpg"):
        path = args.out / name
        with learn.no_bar(), learn.no_logging():
            mask = learn.predict(path)[0].numpy().astype(np.uint8)
        assert mask.shape == INPUT
        scenes.palette_image(mask).save(args.out / f"{name}.mask.png", optimize=True)
        np.save(args.out / f"{name}.input.npy", input_of(learn, path))
        small = nearest(truth, (INPUT[1], INPUT[0]))
        seen = np.union1d(small, mask)
        mean = class_iou(confusion(mask, small))[seen].mean()
        print(f"{name}: {(mask == small).mean():.2%} of pixels right, mean IoU {mean:.4f}")
    overlay(image, mask).save(args.out / "overlay.png", optimize=True)


if __name__ == "__main__":
    main()
