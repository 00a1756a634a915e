"""Mean intersection over union of an exported network on scenes made for the purpose.

Reads what a server reads, the TorchScript file and its model-config.yaml, and needs no FastAI. The mean is
that of the classes' IoU, each from one confusion matrix summed over all scenes.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

import scenes

HERE = Path(__file__).parent


def preprocess(image: Image.Image, config: dict) -> torch.Tensor:
    """The picture as FastAI's item and batch transforms hand it to the network, [1, 3, H, W]."""
    height, width = config["size"]
    small = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    normal = (small - np.float32(config["mean"])) / np.float32(config["std"])
    return torch.from_numpy(normal).permute(2, 0, 1)[None].contiguous()


def confusion(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Counts [true class, predicted class] of two index maps."""
    n = len(scenes.LABELS)
    pairs = truth.astype(np.int64).ravel() * n + predicted.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=n * n).reshape(n, n)


def class_iou(counts: np.ndarray) -> np.ndarray:
    hits = np.diag(counts)
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An index map at another (width, height), by the filter FastAI gives to masks."""
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def print_table(columns: dict[str, np.ndarray], share: np.ndarray) -> None:
    print(f"{'class':<12}{'share':>8}" + "".join(f"{name:>16}" for name in columns))
    for k, label in enumerate(scenes.LABELS):
        print(f"{label:<12}{share[k]:>8.1%}" + "".join(f"{iou[k]:>16.4f}" for iou in columns.values()))
    print(f"{'mean':<12}{'':>8}" + "".join(f"{iou.mean():>16.4f}" for iou in columns.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE / "fastunet.pt")
    parser.add_argument("--config", type=Path, default=HERE / "model-config.yaml")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2_000_000, help="training uses seeds below 2,000,000")
    parser.add_argument("--require", type=float, default=0.85, help="fail below this mean IoU")
    args = parser.parse_args()

    config = yaml.safe_load(args.config.read_text())["handler"]
    assert config["labels"] == scenes.LABELS, "the network was trained for other classes"
    model = torch.jit.load(args.model, map_location="cpu").eval()
    height, width = config["size"]
    at_network = at_scene = np.zeros((len(scenes.LABELS),) * 2, np.int64)
    for seed in range(args.seed, args.seed + args.count):
        image, truth = scenes.make(seed)
        with torch.inference_mode():
            logits = model(preprocess(Image.fromarray(image), config))
        mask = logits.argmax(1)[0].to(torch.uint8).numpy()
        at_network = at_network + confusion(mask, nearest(truth, (width, height)))
        at_scene = at_scene + confusion(nearest(mask, scenes.SIZE), truth)
    columns = {f"IoU {width}x{height}": class_iou(at_network), f"IoU {scenes.SIZE[0]}x{scenes.SIZE[1]}": class_iou(at_scene)}
    print(f"{args.count} scenes, seeds {args.seed} to {args.seed + args.count - 1}")
    print_table(columns, at_network.sum(1) / at_network.sum())
    mean = class_iou(at_network).mean()
    if mean < args.require:
        raise SystemExit(f"mean IoU {mean:.4f} is below {args.require}")


if __name__ == "__main__":
    main()
