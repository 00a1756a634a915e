"""The network's body, the reading of labels, and the numbers that training, export and sample share.

They live in a module of their own because a FastAI export file refers to them by module and name.
"""

from pathlib import Path

import numpy as np
from fastai.layers import ConvLayer, ResBlock
from fastai.vision.all import (
    DataBlock, DataLoaders, GrandparentSplitter, ImageBlock, MaskBlock, Normalize, Resize, ResizeMethod, aug_transforms,
    get_image_files, imagenet_stats,
)
from PIL import Image
from torch import nn

from scenes import LABELS

INPUT = (96, 128)  # height, width
WIDTHS = (16, 32, 56, 80, 112)  # channels at 1/2, 1/4, ... 1/32 of the input
MODELS = Path(__file__).parent / "models"


def narrow_resnet(pretrained: bool = False) -> nn.Sequential:
    """A residual body of few channels, one level per halving, with a head for `unet_learner` to cut off."""
    if pretrained:
        raise ValueError("there are no pretrained weights for this body")
    stem, *levels = WIDTHS
    layers = [nn.Sequential(ConvLayer(3, stem, stride=2), ConvLayer(stem, stem))]
    before = stem
    for width in levels:
        layers.append(nn.Sequential(ResBlock(1, before, width, stride=2), ResBlock(1, width, width)))
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, len(LABELS)))


def label_of(image: Path) -> np.ndarray:
    """Class indices of a scene. FastAI itself would turn the palette into shades of grey."""
    return np.asarray(Image.open(image.parent.parent / "labels" / image.name))


def image_files(data: Path) -> list[Path]:
    """Sorted, because the order in which a folder lists its files differs from disk to disk."""
    return sorted(f for part in ("train", "valid") for f in get_image_files(data / part / "images"))


def loaders(data: Path, batch: int, workers: int = 1) -> DataLoaders:
    block = DataBlock(
        blocks=(ImageBlock, MaskBlock(codes=LABELS)),
        get_items=image_files,
        splitter=GrandparentSplitter(train_name="train", valid_name="valid"),
        get_y=label_of,
        item_tfms=Resize(INPUT, method=ResizeMethod.Squish),
        batch_tfms=[
            *aug_transforms(max_rotate=0, max_zoom=1, max_warp=0, max_lighting=0.3, p_lighting=0.7),
            Normalize.from_stats(*imagenet_stats),
        ],
    )
    return block.dataloaders(data, bs=batch, num_workers=workers)
