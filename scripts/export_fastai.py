#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "fastai==2.8.12",
#     "torch==2.11.0",
#     "torchvision==0.26.0",
#     "numpy==2.4.6",
#     "Pillow==13.0.0",
#     "onnx==1.23.2",
#     "onnxruntime==1.32.0",
# ]
# ///
# Without uv or pipx:
#   pip install fastai==2.8.12 torch==2.11.0 torchvision==0.26.0 numpy==2.4.6 Pillow==13.0.0 onnx==1.23.2 onnxruntime==1.32.0
"""From a FastAI learner to an archive that answers as `learn.predict` does.

    export_fastai.py export.pkl --sample cat.jpg --sample dog.jpg --out model_store/pets.mar

Run it where the learner was trained, or where the same packages are installed: `learn.export` writes a pickle,
and opening one runs what is in it. Open only learners that you trust.

What FastAI does to an input outside training, how it reads the network's output and the network itself are
read from the learner. The network becomes a file that needs no FastAI; the rest becomes model-config.yaml.
Before anything is written, the file is loaded again and compared with the learner at many sizes and batches,
and every sample is followed from its bytes to its answer and compared with `learn.predict`. The samples then
travel in the archive with their answers, so that the server can prove itself on them.

What cannot be carried over is named, and nothing is written: exit status 1. Wrong usage is 2.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import fastai
import numpy as np
import pandas as pd
import PIL
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.data.core import Datasets
from fastai.data.load import DataLoader
from fastai.data.transforms import (
    Categorize, EncodedMultiCategorize, IntToFloatTensor, MultiCategorize, Normalize, OneHotEncode, RegressionSetup, ToTensor,
)
from fastai.imports import noop, noops
from fastai.layers import MergeLayer, SigmoidRange
from fastai.learner import Learner, load_learner
from fastai.losses import (
    BaseLoss, BCEWithLogitsLossFlat, CrossEntropyLossFlat, DiceLoss, FocalLossFlat, LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
)
from fastai.tabular.core import Categorify, FillMissing, ReadTabBatch, Tabular
from fastai.tabular.learner import TabularLearner
from fastai.torch_core import TensorImage, TensorImageBW
from fastai.vision.augment import (
    AffineCoordTfm, CropPad, RandomCrop, RandomResizedCrop, RandomResizedCropGPU, Resize,
)
from fastai.vision.core import AddMaskCodes, PILImage, PILImageBW, PILMask
from fastai.vision.models.unet import DynamicUnet, ResizeToOrig, UnetBlock
from fasttransform import ItemTransform, Transform
from PIL import Image
from plum import Function, NotFoundLookupError
from torch import nn
from torch.overrides import TorchFunctionMode

TESTED = {"fastai": "2.8", "torch": "2.11", "PIL": "13"}
"""The versions that the project's own tests run with, as far as they matter."""

TRACE_SIZE = (97, 131)
"""A trace keeps the branch that it saw. At this size no level of a network has the size that twice the next
one has, so that every resize in a U-Net is recorded; where it is not needed it changes nothing."""

TOLERANCE = 1e-4
"""On what the network gives, relative to its largest number where that is above 1, and on probabilities."""

ONNX_OPSET = 17
"""Of what torch.onnx can write the one that most programs open."""

AGREEMENT = 0.999
"""The share of a mask's pixels that must be FastAI's."""

COPY_LIMIT = 4_000_000
"""Tensors of more elements than these go into the archive as a digest only."""


# ---- what cannot be carried over -------------------------------------------------------------------------


class Refusal(Exception):
    """Something of the learner that the archive could not hold, by name."""

    def __init__(self, name: str, why: str, remedy: str):
        super().__init__(f"cannot carry over {name}: {why}; {remedy}")


class Failure(Exception):
    """Something else that stops the export."""


def called(thing: Any) -> str:
    """What a person calls a transform, a loss or a function of the learner."""
    if type(thing).__name__ == "Transform":  # a plain function that FastAI has wrapped
        return str(getattr(thing, "name", thing)).split(" -- ")[0].strip()
    if isinstance(thing, type) or callable(thing) and hasattr(thing, "__name__") and not isinstance(thing, BaseLoss):
        return thing.__name__
    return type(thing).__name__


def is_fastai(kind: type) -> bool:
    """Whether a class is FastAI's own rather than a user's."""
    return kind.__module__.split(".")[0] in ("fastai", "fasttransform", "fastcore")


def defining(kind: type, method: str) -> type:
    """The class that a method comes from."""
    return next(base for base in kind.__mro__ if method in vars(base))


# ---- transforms: what happens to an image outside training -----------------------------------------------


FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers and the server's names."""


@dataclass
class Preprocessing:
    """The steps of the server, in its order, as the learner's validation data has them."""

    mode: str = "RGB"
    size: tuple[int, int] | None = None  # height, width
    resize: str | None = None
    pad_mode: str | None = None
    filter: str | None = None
    center_crop: tuple[int, int] | None = None
    divisor: float = 255.0
    mean: list[float] | None = None
    std: list[float] | None = None
    baked: list[Any] = field(default_factory=list)  # batch transforms that go into the network's file
    idle_affine: bool = False  # a transform that samples the image at its own pixels

    @property
    def channels(self) -> int:
        return 3 if self.mode == "RGB" else 1

    @property
    def seen(self) -> tuple[int, int] | None:
        """Height and width of what leaves the item transforms; none where that is the image's own."""
        return self.center_crop or self.size

    def settings(self) -> dict[str, Any]:
        """The keys of model-config.yaml."""
        keys: dict[str, Any] = {}
        if self.mode != "RGB":
            keys["color_mode"] = self.mode
        if self.size:
            keys |= {"size": list(self.size), "resize": self.resize}
            if self.resize == "pad":
                keys["pad_mode"] = self.pad_mode
            keys["filter"] = self.filter
        else:
            keys["resize"] = "native"
        if self.center_crop:
            keys |= {"center_crop": list(self.center_crop), "crop_rounding": "fastai"}
            if not self.size:
                keys["pad_mode"] = self.pad_mode
        if self.divisor != 255:
            keys["scale"] = "1/" + number(self.divisor) if self.divisor != 1 else 1
        keys |= {"mean": self.mean or 0, "std": self.std or 1}
        return keys

    def sentence(self) -> str:
        """What it does, for a person."""
        steps = [f"decoded as {self.mode}"]
        if self.size:
            steps.append(f"{self.resize} to {by(self.size)} ({self.filter})")
        if self.center_crop:
            steps.append(f"centre {by(self.center_crop)}")
        if not self.seen:
            steps.append("at the image's own size")
        steps.append(f"divided by {number(self.divisor)}")
        if self.mean:
            steps.append(f"mean {self.mean}, std {self.std}")
        if self.baked:
            steps.append("in the network's file: " + ", ".join(called(t) for t in self.baked))
        return ", ".join(steps)

    def numbers(self, pixels: np.ndarray) -> torch.Tensor:
        """What the server makes of pixels [height, width, channels]: the arithmetic of its `normalise`."""
        x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / self.divisor
        if self.mean:
            mean, std = (torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) for v in (self.mean, self.std))
            x = (x - mean) / std
        return x.contiguous()


def by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def idles(transform: Any) -> bool:
    """Whether FastAI passes a transform over outside training."""
    own = all(is_fastai(defining(type(transform), m)) for m in ("__call__", "_call"))
    return own and transform.split_idx == 0 and not isinstance(transform, (AffineCoordTfm, RandomResizedCropGPU))


def is_noop(transform: Any) -> bool:
    """FastAI's function that hands on what it is given."""
    token = object()
    return called(transform) == "noop" and transform(token) is token


def passes_images(transform: Any) -> bool:
    """Whether a transform has no `encodes` for images, but for masks or the like alone: FastAI hands them on."""
    if not isinstance(transform, Transform) or isinstance(transform, ItemTransform) or getattr(transform, "decodes", None):
        return False
    own = any(not is_fastai(defining(type(transform), m)) for m in ("__call__", "_call", "_do_call"))
    encodes = getattr(transform, "encodes", None)
    # a plain function is kept as it is, a method with the transform as its first argument
    function, bound = (encodes, []) if isinstance(encodes, Function) else (getattr(encodes, "_f", None), [transform])
    if own or not isinstance(function, Function):
        return False
    pixels = np.zeros((2, 2, 3), np.uint8)
    for kind in (PILImage, PILImageBW, TensorImage, TensorImageBW):
        image = kind.create(pixels) if issubclass(kind, Image.Image) else kind(torch.zeros(3, 2, 2))
        with contextlib.suppress(NotFoundLookupError):
            function.resolve_method((*bound, image))
            return False
    return True


class ItemTransforms:
    """Reads what happens to one image, up to its tensor of bytes."""

    def __init__(self, into: Preprocessing):
        self.into = into
        self.last: str | None = None
        self.is_tensor = False

    def read(self, transforms: Any) -> None:
        for transform in transforms:
            self.one(transform)

    def one(self, transform: Any) -> None:
        kind, name = type(transform), called(transform)
        self.is_tensor |= kind is ToTensor
        if idles(transform) or is_noop(transform) or kind in (ToTensor, AddMaskCodes) or passes_images(transform):
            return
        readers: dict[type, Callable[[Any], None]] = {
            Resize: self.resize, RandomResizedCrop: self.random_resized_crop, CropPad: self.crop_pad, RandomCrop: self.random_crop,
        }
        if kind in readers and self.is_tensor:
            raise Refusal(name, "it comes after ToTensor, where it does nothing", f"give it an order below {ToTensor.order}")
        if kind in readers:
            readers[kind](transform)
            self.last = name
        elif kind is IntToFloatTensor or kind is Normalize:
            raise Refusal(name, "it stands among the item transforms", "move it to batch_tfms, where FastAI's blocks have it")
        elif name == "PointScaler":
            raise Refusal(
                name, "it makes points relative to the image, and no handler turns them back",
                "export a learner that predicts plain numbers",
            )
        elif name == "RatioResize":
            raise Refusal(name, "it cuts by chance, in prediction too", "use Resize")
        elif is_fastai(kind) and kind.__name__ != "Transform":
            raise Refusal(
                name, "the server has no such step for an image",
                "use Resize, RandomResizedCrop or CropPad, or do it before training",
            )
        else:
            raise Refusal(
                name, "it is your own code, and runs in prediction too",
                "use Resize, RandomResizedCrop or CropPad in its place, or give it split_idx=0 if it is for training only",
            )

    def resize(self, t: Resize) -> None:
        self.alone(t, t.size)
        width, height = t.size
        self.into.size, self.into.resize, self.into.filter = (height, width), str(t.method), filter_of(t.mode)
        if t.method not in ("squish", "crop", "pad"):
            raise Refusal("Resize", f"method {t.method!r} is not known", "use squish, crop or pad")
        if t.method == "pad":
            self.into.pad_mode = pad_of(t)

    def random_resized_crop(self, t: RandomResizedCrop) -> None:
        self.alone(t, t.size)
        width, height = t.size
        margin = math.ceil(max(width, height) * t.val_xtra / 8) * 8  # as in its before_call for validation
        self.into.size, self.into.resize, self.into.filter = (height + margin, width + margin), "squish", filter_of(t.mode)
        if margin < 0:
            raise Refusal("RandomResizedCrop", f"val_xtra {t.val_xtra} is below 0", "use Resize")
        if margin:
            self.into.center_crop = (height, width)

    def crop_pad(self, t: CropPad) -> None:
        self.centre(t, pad_of(t))

    def random_crop(self, t: RandomCrop) -> None:
        self.centre(t, "zeros")

    def centre(self, t: Any, pad_mode: str) -> None:
        if self.into.center_crop:
            raise Refusal(called(t), f"it comes after {self.last}, which has cut the centre already", "leave one of them")
        width, height = t.size
        pre = self.into
        pre.center_crop = (height, width)
        pads = not pre.size or height > pre.size[0] or width > pre.size[1]
        if pads and pre.size:
            raise Refusal(called(t), f"it would pad what {self.last} has resized", "resize to at least its size")
        if not pre.size:
            pre.pad_mode = pad_mode

    def alone(self, t: Any, size: Any) -> None:
        if self.into.size or self.into.center_crop:
            raise Refusal(
                called(t), f"it comes after {self.last}, and the server resizes once, before it cuts",
                "leave one of them",
            )
        if len(size) != 2 or min(size) < 1:
            raise Refusal(called(t), f"its size is {tuple(size)}", "give it a height and a width")


def filter_of(mode: Any) -> str:
    if int(mode) not in FILTERS:
        raise Refusal("Resize", f"the server has no filter {mode!r}", f"use one of {some(list(FILTERS.values()))}")
    return FILTERS[int(mode)]


def pad_of(t: Any) -> str:
    if t.pad_mode not in ("zeros", "border", "reflection"):
        raise Refusal(called(t), f"pad_mode {t.pad_mode!r} is not known", "use zeros, border or reflection")
    return str(t.pad_mode)


class BatchTransforms:
    """Reads what happens to a batch: numbers, resampling, normalisation.

    A transform that the server has no step for is put into the network's file, if FastAI's own code says
    exactly what it does; what follows it goes with it.
    """

    def __init__(self, into: Preprocessing, bake_all: bool):
        self.into = into
        self.bake_all = bake_all
        self.is_float = False

    def read(self, transforms: Any) -> None:
        for transform in transforms:
            self.one(transform)
        if not self.is_float:
            raise Refusal("the batch transforms", "none of them is IntToFloatTensor", "use ImageBlock, which brings it")

    def one(self, t: Any) -> None:
        kind, name = type(t), called(t)
        if idles(t) or is_noop(t) or kind is not IntToFloatTensor and passes_images(t):
            return
        if kind is IntToFloatTensor:
            if self.is_float or not t.div or t.div <= 0:
                raise Refusal(name, f"it divides by {t.div}, or more than once", "leave one, with a divisor above 0")
            self.is_float, self.into.divisor = True, float(t.div)
            return
        resamples = kind is RandomResizedCropGPU or isinstance(t, AffineCoordTfm) and is_fastai(kind)
        if (kind is Normalize or resamples) and not self.is_float:
            raise Refusal(name, "it comes before IntToFloatTensor", "give it an order above 10")
        if kind is Normalize:
            self.normalize(t)
        elif resamples:
            self.resample(t)
        elif is_fastai(kind) and kind.__name__ != "Transform":
            raise Refusal(
                name, "it changes batches in prediction too, and neither the server nor the network's file can do it",
                "leave it out",
            )
        else:
            raise Refusal(
                name, "it is your own code, and runs in prediction too",
                "leave it out, or give it split_idx=0 if it is for training only",
            )

    def normalize(self, t: Normalize) -> None:
        mean, std = (torch.as_tensor(v).detach().cpu().float() for v in (t.mean, t.std))
        if not all(v.numel() == 1 or list(v.shape) == [1, self.into.channels, 1, 1] for v in (mean, std)):
            shapes = f"{list(mean.shape)} and {list(std.shape)} for images of {self.into.channels} channels"
            raise Refusal(
                "Normalize", f"its mean and std have the shapes {shapes}",
                "use Normalize.from_stats with one number a channel",
            )
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std != 0).all()):
            raise Refusal(
                "Normalize", "its mean or std is not finite, or a std is 0",
                "use Normalize.from_stats with the numbers that you mean",
            )
        if self.into.mean and not self.into.baked:
            raise Refusal("Normalize", "there are two of them", "leave one")
        if self.into.baked:
            self.into.baked.append(t)
        else:
            self.into.mean, self.into.std = (shortest(v.flatten()) for v in (mean, std))

    def resample(self, t: Any) -> None:
        if isinstance(t, AffineCoordTfm) and not self.into.baked and not self.bake_all and self.is_identity(t):
            self.into.idle_affine = True
            return
        mode, pad_mode = t.mode, getattr(t, "pad_mode", "reflection")
        if mode not in ("bilinear", "nearest", "bicubic") or pad_mode not in ("zeros", "border", "reflection"):
            raise Refusal(called(t), f"mode {mode!r} with pad_mode {pad_mode!r} is not known", "use aug_transforms' own")
        self.into.baked.append(t)

    def is_identity(self, t: AffineCoordTfm) -> bool:
        """Whether it samples every pixel at its own place. FastAI shrinks an image first that is more than
        twice as tall as it is wide, which is no identity."""
        seen = self.into.seen
        if seen is None:
            return False
        size = None if t.size is None else (t.size, t.size) if isinstance(t.size, int) else tuple(t.size)
        return size in (None, seen) and not (t.mode == "bilinear" and seen[0] > 2 * seen[1])


def shortest(values: torch.Tensor) -> list[float]:
    """Numbers of single precision as the shortest decimals that mean them: 0.485, not 0.48500001."""
    return [float(str(np.float32(v))) for v in values.tolist()]


# ---- the data: which kind of learner is it ----------------------------------------------------------------


class Target(Protocol):
    """What a learner predicts, and how the server says it."""

    handler: str
    outputs: int | None  # of the network, for a check; none where any number will do

    def settings(self) -> dict[str, Any]: ...
    def sentence(self) -> str: ...
    def difference(self, raw: torch.Tensor, predicted: Any) -> str | None: ...
    def odd(self, predicted: Any) -> str | None: ...  # what does not follow from the network's output
    def answers(self, predicted: Any) -> list[Answer]: ...
    def tell(self, predicted: Any) -> str: ...


@dataclass
class Answer:
    """A body that the server must send."""

    suffix: str
    body: bytes
    content_type: str
    query: list[tuple[str, str]] = field(default_factory=list)
    tolerance: float = TOLERANCE
    agreement: float = 1.0


def as_json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def ranked(probabilities: torch.Tensor) -> list[int]:
    """Classes from the likeliest on; of equal ones the first comes first."""
    return torch.sort(probabilities, descending=True, stable=True).indices.tolist()


@dataclass
class SingleLabel:
    """One class an image: softmax, as `learn.predict` gives it."""

    labels: list[str]
    is_table: bool = False

    @property
    def handler(self) -> str:
        return "tensor" if self.is_table else "image_classifier"

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def top_k(self) -> int:
        return len(self.labels) if len(self.labels) <= 20 else 5

    def settings(self) -> dict[str, Any]:
        if self.is_table:
            return {"activation": "softmax", "labels": self.labels}
        return {"activation": "softmax", "top_k": self.top_k, "labels": self.labels}

    def sentence(self) -> str:
        return f"one of {len(self.labels)} labels: {some(self.labels)}"

    def difference(self, raw: torch.Tensor, predicted: Any) -> str | None:
        return probabilities_differ(F.softmax(raw.flatten(), dim=0), self.probabilities(predicted))

    def odd(self, predicted: Any) -> str | None:
        chosen, likeliest = int(predicted[1]), int(self.probabilities(predicted).argmax())
        said = self.labels[chosen] if self.is_table else str(predicted[0])
        if chosen != likeliest or said != self.labels[likeliest]:
            return f"it says {said!r} where {self.labels[likeliest]!r} is the likeliest label"
        return None

    def probabilities(self, predicted: Any) -> torch.Tensor:
        return plain_tensor(predicted[2]).float().flatten()

    def answers(self, predicted: Any) -> list[Answer]:
        p = self.probabilities(predicted)
        order = range(len(self.labels)) if self.is_table else ranked(p)[: self.top_k]
        return [Answer("answer.json", as_json({self.labels[k]: float(p[k]) for k in order}), "application/json")]

    def tell(self, predicted: Any) -> str:
        p = self.probabilities(predicted)
        return f"{self.labels[int(p.argmax())]} {p.max().item():.4f}"


@dataclass
class MultiLabel:
    """Any number of labels an image: sigmoid, and those above a threshold."""

    labels: list[str]
    threshold: float
    handler: str = "image_classifier"

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def settings(self) -> dict[str, Any]:
        return {"activation": "sigmoid", "threshold": self.threshold, "labels": self.labels}

    def sentence(self) -> str:
        return f"any of {len(self.labels)} labels, those above {number(self.threshold)}: {some(self.labels)}"

    def difference(self, raw: torch.Tensor, predicted: Any) -> str | None:
        return probabilities_differ(torch.sigmoid(raw.flatten()), plain_tensor(predicted[2]).float().flatten())

    def odd(self, predicted: Any) -> str | None:
        p = plain_tensor(predicted[2]).float().flatten()
        above = [label for label, one in zip(self.labels, p) if one > self.threshold]
        chosen = [label for label, one in zip(self.labels, plain_tensor(predicted[1]).flatten()) if one]
        said = [str(label) for label in predicted[0]]
        if not said == chosen == above:
            return f"it says {some(said) or 'no label'} where {some(above) or 'none'} is above {number(self.threshold)}"
        return None

    def told(self, predicted: Any) -> dict[str, float]:
        p, chosen = plain_tensor(predicted[2]).float().flatten(), plain_tensor(predicted[1]).bool().flatten()
        return {self.labels[k]: float(p[k]) for k in ranked(p) if chosen[k]}

    def answers(self, predicted: Any) -> list[Answer]:
        p = plain_tensor(predicted[2]).float().flatten()
        every = {self.labels[k]: float(p[k]) for k in ranked(p)}
        # an image without a label says nothing of which name belongs to which output
        return [
            Answer("answer.json", as_json(self.told(predicted)), "application/json"),
            Answer("every.json", as_json(every), "application/json", [("threshold", "-1")]),
        ]

    def tell(self, predicted: Any) -> str:
        return ", ".join(f"{label} {p:.4f}" for label, p in self.told(predicted).items()) or "no label"


@dataclass
class Mask:
    """A class for each pixel: the one of the largest output, or of a network with one output whether its sigmoid
    is above a threshold."""

    labels: list[str] | None
    palette: list[list[int]] | None
    threshold: float | None = None
    handler: str = "mask_segmenter"

    def __post_init__(self):
        names = len(self.labels or [])
        if names > 256:
            raise Refusal("the codes of the mask", f"there are {names} of them, and a mask has a byte a pixel", "use 256 at most")
        if self.threshold is None:
            return
        if names not in (0, 2):
            raise Refusal(
                "the codes of the mask", f"there are {names} of them, and the loss tells apart two",
                "name two, or train with CrossEntropyLossFlat(axis=1)",
            )
        if not 0 <= self.threshold < 1:
            raise Refusal(
                "BCEWithLogitsLossFlat", f"its thresh {number(self.threshold)} is no probability, so that all pixels are of one class",
                "set learn.loss_func.thresh to one from 0 to below 1 before learn.export",
            )

    @property
    def outputs(self) -> int | None:
        if self.threshold is not None:
            return 1
        return len(self.labels) if self.labels else None

    def settings(self) -> dict[str, Any]:
        # of one output the server takes a half unless told otherwise, and then on the device
        threshold = None if self.threshold == 0.5 else self.threshold
        given = {"labels": self.labels, "palette": self.palette, "threshold": threshold}
        return {key: value for key, value in given.items() if value is not None}

    def sentence(self) -> str:
        names = f"a mask of {len(self.labels)} labels: {some(self.labels)}" if self.labels else "a mask of classes without names"
        above = "" if self.threshold is None else f"; the second is what is above {number(self.threshold)}"
        return names + above

    def classes(self, predicted: Any) -> np.ndarray:
        mask = plain_tensor(predicted[1])
        return (mask if self.threshold is None else mask[0]).numpy().astype(np.uint8)

    def odd(self, predicted: Any) -> str | None:
        shown = plain_tensor(predicted[0]).squeeze().numpy()
        return None if np.array_equal(shown, self.classes(predicted).squeeze()) else "it shows another mask than the loss decodes"

    def difference(self, raw: torch.Tensor, predicted: Any) -> str | None:
        ours = raw[0].argmax(0) if self.threshold is None else torch.sigmoid(raw[0, 0]) > self.threshold
        ours, known = ours.numpy(), self.classes(predicted)
        if ours.shape != known.shape:
            return f"the mask has {by(ours.shape)} pixels, FastAI's {by(known.shape)}"
        share = float((ours == known).mean())
        return None if share >= AGREEMENT else f"{share:.2%} of the mask's pixels are FastAI's"

    def answers(self, predicted: Any) -> list[Answer]:
        mask = self.classes(predicted)
        raw = Answer("mask.raw", mask.tobytes(), "application/octet-stream", [("format", "raw")], agreement=AGREEMENT)
        told: dict[str, Any] = {"shape": list(mask.shape)} | ({"labels": self.labels} if self.labels else {})
        return [raw, Answer("answer.json", as_json(told), "application/json")]

    def tell(self, predicted: Any) -> str:
        mask = self.classes(predicted)
        found = np.unique(mask).tolist()
        return f"a mask of {by(mask.shape)} with {some([self.labels[k] if self.labels else str(k) for k in found])}"


@dataclass
class Numbers:
    """One number or several."""

    outputs: int | None
    is_table: bool = False

    @property
    def handler(self) -> str:
        return "tensor" if self.is_table else "image_regressor"

    def settings(self) -> dict[str, Any]:
        return {}

    def sentence(self) -> str:
        return "numbers"

    def values(self, predicted: Any) -> torch.Tensor:
        return plain_tensor(predicted[2]).float().flatten()

    def difference(self, raw: torch.Tensor, predicted: Any) -> str | None:
        return numbers_differ(raw.flatten(), self.values(predicted), TOLERANCE)

    def odd(self, predicted: Any) -> str | None:
        values = self.values(predicted)
        shown = [] if self.is_table else [torch.tensor(predicted[0]).double().flatten()]
        for told in [*shown, plain_tensor(predicted[1]).double().flatten()]:
            if not torch.equal(told.float(), values):
                return f"it says {told.tolist()} where the network gives {values.tolist()}"
        return None

    def answers(self, predicted: Any) -> list[Answer]:
        values = self.values(predicted)
        tolerance = TOLERANCE * max(1.0, values.abs().max().item())
        return [Answer("answer.json", as_json(values.tolist()), "application/json", tolerance=tolerance)]

    def tell(self, predicted: Any) -> str:
        return ", ".join(number(v) for v in self.values(predicted).tolist())


def plain_tensor(value: Any) -> torch.Tensor:
    """Without FastAI's subclass, on the processor."""
    return torch.as_tensor(value).detach().as_subclass(torch.Tensor).cpu()


def probabilities_differ(ours: torch.Tensor, known: torch.Tensor) -> str | None:
    if ours.shape != known.shape:
        return f"there are {ours.numel()} probabilities, FastAI has {known.numel()}"
    worst = (ours - known).abs().max().item()
    return None if worst <= TOLERANCE else f"a probability differs by {worst:.1e}"


def numbers_differ(ours: torch.Tensor, known: torch.Tensor, tolerance: float) -> str | None:
    """Relative to the largest number where that is above 1; a number that is not finite is a difference."""
    if ours.shape != known.shape:
        return f"the shape is {list(ours.shape)}, FastAI's is {list(known.shape)}"
    worst = (ours - known).abs().max().item()
    limit = tolerance * max(1.0, known.abs().max().item())
    return None if worst <= limit else f"a number differs by {worst:.1e}, more than {limit:.1e}"


def some(labels: list[str], most: int = 8) -> str:
    return ", ".join(labels[:most]) + (", ..." if len(labels) > most else "")


def texts(vocabulary: Any, whose: str) -> list[str]:
    """Names of classes as FastAI prints them."""
    labels = [str(label) for label in vocabulary]
    broken = [label for label in labels if any("\ud800" <= letter <= "\udfff" for letter in label)]
    if broken:
        raise Refusal(whose, f"{ascii(broken[0])} is no text, but bytes of a file's name in another encoding", "rename the class")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise Refusal(whose, f"{some(twice)} stands there more than once", "give every class a name of its own")
    if not labels:
        raise Refusal(whose, "it is empty", "train with labels")
    return labels


def losses_of(loss: Any) -> str:
    """The name of a loss as users write it: BaseLoss around BCELoss is BCELossFlat."""
    if type(loss) is BaseLoss:
        return called(type(loss.func)) + "Flat"
    return called(loss)


@dataclass
class Loss:
    """What the loss function says of the network's output, checked against what is predicted."""

    function: Any

    @property
    def name(self) -> str:
        return losses_of(self.function)

    def softmax(self, axes: tuple[int, ...], what: str) -> None:
        """The loss must be one whose activation is a softmax along one of these axes."""
        function, kind = self.function, type(self.function)
        shape = (5, 7) if -1 in axes else (2, 5, 3, 7)
        if kind in (CrossEntropyLossFlat, FocalLossFlat, DiceLoss):
            axis = function.axis
        elif kind in (LabelSmoothingCrossEntropyFlat, LabelSmoothingCrossEntropy):
            axis = -1  # whatever its axis says
        else:
            axis = next((a for a in axes if self.is_softmax(a, shape)), None)
        name = "CrossEntropyLossFlat()" if -1 in axes else "CrossEntropyLossFlat(axis=1)"
        remedy = f"set learn.loss_func = {name} before learn.export"
        if axis is None or axis in axes and not self.is_softmax(axis, shape):
            self.refuse(what, remedy)
        if axis not in axes:
            raise Refusal(self.name, f"it takes the classes from axis {axis}, and {what} has them in axis 1", remedy)

    def is_softmax(self, axis: int, shape: tuple[int, ...]) -> bool:
        """Whether it makes of numbers what a softmax and the place of the largest make of them: tried out, as it
        may be a user's own."""
        def as_softmax(x: torch.Tensor, p: torch.Tensor, chosen: torch.Tensor) -> bool:
            return torch.allclose(p, F.softmax(x, axis), atol=1e-6) and torch.equal(chosen, p.argmax(axis))

        return self.tried(as_softmax, shape)

    def tried(self, holds: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], bool], shape: tuple[int, ...]) -> bool:
        """Whether something holds of numbers, of what the loss's activation makes of them and of what its decodes
        makes of that."""
        if not all(callable(getattr(self.function, part, None)) for part in ("activation", "decodes")):
            return False
        generator = torch.Generator().manual_seed(3)
        for size in (0.1, 1.0, 10.0):
            x = torch.randn(shape, generator=generator) * size
            try:
                p = plain_tensor(self.function.activation(x.clone()))
                chosen = plain_tensor(self.function.decodes(p.clone()))
                if p.shape != x.shape or not holds(x, p, chosen):
                    return False
            except Exception:  # a user's own code can fail with anything
                return False
        return True

    @property
    def is_sigmoid(self) -> bool:
        return type(self.function) is BCEWithLogitsLossFlat

    def threshold(self, what: str) -> float:
        """The loss must be one whose activation is a sigmoid, and whose decodes compares with a threshold."""
        above = getattr(self.function, "thresh", None)

        def as_sigmoid(x: torch.Tensor, p: torch.Tensor, chosen: torch.Tensor) -> bool:
            return torch.allclose(p, torch.sigmoid(x), atol=1e-6) and torch.equal(chosen, p > above)

        if not self.is_sigmoid or not self.tried(as_sigmoid, (40, 7)):
            self.refuse(what, "set learn.loss_func = BCEWithLogitsLossFlat(thresh=0.5) before learn.export")
        return float(above)

    def none(self) -> None:
        """The loss must leave the network's numbers as they are, as FastAI does where it has no activation."""
        parts = [getattr(self.function, part, None) for part in ("activation", "decodes")]
        if any(part is not None and getattr(part, "__func__", part) not in (noop, noops) for part in parts):
            self.refuse("numbers", "set learn.loss_func = MSELossFlat() before learn.export")

    def refuse(self, what: str, remedy: str) -> None:
        raise Refusal(self.name, f"how it turns the network's output into {what} is not known", remedy)


# ---- the network without FastAI ----------------------------------------------------------------------------


class PlainBlock(nn.Module):
    """FastAI's UnetBlock with its skip connection as an argument."""

    def __init__(self, block: UnetBlock):
        super().__init__()
        self.shuf, self.bn, self.relu, self.conv1, self.conv2 = block.shuf, block.bn, block.relu, block.conv1, block.conv2

    def forward(self, up: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        up = self.shuf(up)
        if up.shape[-2:] != skip.shape[-2:]:
            up = F.interpolate(up, skip.shape[-2:], mode="nearest")
        return self.conv2(self.conv1(self.relu(torch.cat([up, self.bn(skip)], dim=1))))


class PlainUnet(nn.Module):
    """DynamicUnet without hooks. It takes over the layers of the model it is given and removes their hooks."""

    def __init__(self, model: DynamicUnet):
        super().__init__()
        encoder, norm, relu, middle, *rest = model.layers
        blocks = [layer for layer in rest if isinstance(layer, UnetBlock)]
        strange = [called(b) for b in blocks if type(b) is not UnetBlock]
        if strange:
            raise Refusal(strange[0], "it is not FastAI's own UnetBlock", "build the network with unet_learner")
        self.skips = [self.skip_of(block, encoder) for block in blocks]
        model.sfs.remove()
        self.encoder = nn.ModuleList(encoder)
        self.middle = nn.Sequential(norm, relu, middle)
        self.blocks = nn.ModuleList(PlainBlock(block) for block in blocks)
        self.mode, self.joins, self.dense = None, False, True
        self.tail(rest[len(blocks):])

    @staticmethod
    def skip_of(block: UnetBlock, encoder: nn.Module) -> int:
        """The encoder's layer whose output a block gets."""
        for place, layer in enumerate(encoder):
            if any(getattr(hook, "__self__", None) is block.hook for hook in layer._forward_hooks.values()):
                return place
        raise Refusal("DynamicUnet", "a block hangs on no layer of its encoder", "export the learner that unet_learner made")

    def tail(self, layers: list[nn.Module]) -> None:
        """What follows the blocks: shuffle, resize to the input, join with it, residual block, classifier, range."""
        for layer in layers:
            if isinstance(layer, ResizeToOrig):
                self.mode = layer.mode
            elif isinstance(layer, MergeLayer):
                self.joins, self.dense = True, layer.dense
            elif is_cast(layer):
                continue
            elif type(layer).__name__ == "PixelShuffle_ICNR" and self.mode is None:
                self.shuffle = layer
            elif type(layer).__name__ == "ResBlock" and self.joins:
                self.cross = layer
            elif type(layer).__name__ == "ConvLayer":
                self.classify = layer
            elif isinstance(layer, SigmoidRange):
                self.range = layer
            else:
                raise Refusal(
                    called(layer), "it is no layer that FastAI puts at the end of a U-Net",
                    "export the learner that unet_learner made",
                )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, taken = image, []
        for layer in self.encoder:
            x = layer(x)
            taken.append(x)
        x = self.middle(x)
        for block, k in zip(self.blocks, self.skips):
            x = block(x, taken[k])
        if hasattr(self, "shuffle"):
            x = self.shuffle(x)
        if self.mode is not None and x.shape[-2:] != image.shape[-2:]:
            x = F.interpolate(x, image.shape[-2:], mode=self.mode)
        if self.joins:
            x = torch.cat([x, image], dim=1) if self.dense else x + image
        if hasattr(self, "cross"):
            x = self.cross(x)
        x = self.classify(x)
        return self.range(x) if hasattr(self, "range") else x


def is_cast(module: nn.Module) -> bool:
    """FastAI's layer that only changes the tensor's class."""
    return type(module).__name__ == "ToTensorBase" and is_fastai(type(module))


def without_fastai(module: nn.Module) -> nn.Module:
    """U-Nets without hooks, casts taken out, wrappers for several devices taken off."""
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return without_fastai(module.module)
    if isinstance(module, DynamicUnet):
        plain = PlainUnet(module)
        return without_fastai(plain)
    if is_cast(module):
        return nn.Identity()
    for name, child in list(module.named_children()):
        plain = without_fastai(child)
        if plain is not child:
            setattr(module, name, plain)
    return module


def plain_network(model: nn.Module) -> nn.Module:
    """The network as a module that can be traced. The model is taken apart."""
    network = without_fastai(model).float().eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    for name, module in network.named_modules():
        # weight and spectral norm are hooks too, but they only compute weights, and a trace records that
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        left = [hook for hook in hooks if type(hook).__name__ not in ("SpectralNorm", "WeightNorm")]
        if left:
            what = f"the hook {getattr(left[0], '__qualname__', type(left[0]).__qualname__)} on {name or 'the network'}"
            raise Refusal(
                what, "a hook is Python code that a file cannot hold",
                "remove it before learn.export, or put what it does into the network",
            )
        if module.training:
            raise Refusal(f"the layer {name}", "it stays in training mode", "let its train() take its argument")
    return network


def shrunk_by(height: int, width: int, shown_width: int, span: float) -> float:
    """How much FastAI shrinks an image before it samples it: 1 is not at all. Its own arithmetic, oddities
    included: the second quotient divides by the length of a coordinate, 2, rather than by a height."""
    d = min(height / shown_width, width / 2) / 2
    return d if d > 1.0 and d > 2.0 / span else 1.0


def sample(x: torch.Tensor, size: list[int], mode: str, pad_mode: str, align: bool) -> torch.Tensor:
    """FastAI's `affine_coord` without a transformation: every image of a batch at another size, or at its own
    where none is given."""
    if len(size) == 0:
        size = [x.size(2), x.size(3)]
    eye = torch.eye(2, 3, device=x.device, dtype=torch.float32)[None].expand(x.size(0), 2, 3)
    grid = F.affine_grid(eye, [x.size(0), x.size(1), size[0], size[1]], align_corners=align)
    if mode == "bilinear":
        d = min(float(x.size(2)) / float(size[1]), float(x.size(3)) / 2.0) / 2.0
        if d > 1.0 and d > 1.0 / float((grid.max() - grid.min()).item()) * 2.0:
            x = F.interpolate(x, scale_factor=1.0 / d, mode="area", recompute_scale_factor=True)
    return F.grid_sample(x, grid.to(x.dtype), mode=mode, padding_mode=pad_mode, align_corners=align)


def centre_of(x: torch.Tensor, low: float, high: float, scale: float) -> torch.Tensor:
    """The part that FastAI's RandomResizedCropGPU keeps outside training."""
    h, w = x.size(2), x.size(3)
    ratio = float(w) / float(h)
    kept_h, kept_w = h, w
    if ratio < low:
        kept_h = int(float(w) / low)
    elif ratio > high:
        kept_w = int(float(h) * high)
    kept_h, kept_w = int(float(kept_h) * scale), int(float(kept_w) * scale)
    top, left = (h - kept_h) // 2, (w - kept_w) // 2
    return x[:, :, top : top + kept_h, left : left + kept_w]


class Resample(nn.Module):
    """A batch transform of FastAI's that changes sizes, as it is outside training."""

    def __init__(self, transform: Any):
        super().__init__()
        size = transform.size
        self.size = None if size is None else (size, size) if isinstance(size, int) else tuple(int(n) for n in size)
        self.mode = transform.mode
        self.crop: tuple[float, float, float] | None = None
        if isinstance(transform, RandomResizedCropGPU):
            self.pad_mode, self.align = "reflection", True  # what affine_coord has by default
            self.crop = (*(float(r) for r in transform.ratio), float(transform.valid_scale))
        else:
            self.pad_mode, self.align = transform.pad_mode, bool(transform.align_corners)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.onnx.is_in_onnx_export():
            return self.at_one_size(x)
        # scripted, because a trace keeps the branch that it saw
        if self.crop:
            x = torch.jit.script(centre_of)(x, *self.crop)
        return torch.jit.script(sample)(x, list(self.size or ()), self.mode, self.pad_mode, self.align)

    def at_one_size(self, x: torch.Tensor) -> torch.Tensor:
        """The same with every size a constant, because ONNX has no word for the choice that depends on it."""
        h, w = int(x.shape[2]), int(x.shape[3])
        if self.crop:
            low, high, scale = self.crop
            kept = (int(w / low), w) if w / h < low else (h, int(h * high)) if w / h > high else (h, w)
            kept = (int(kept[0] * scale), int(kept[1] * scale))
            top, left = (h - kept[0]) // 2, (w - kept[1]) // 2
            x = x[:, :, top : top + kept[0], left : left + kept[1]]
            h, w = kept
        size = self.size or (h, w)
        grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, *size], align_corners=self.align)
        d = shrunk_by(h, w, size[1], (grid.max() - grid.min()).item()) if self.mode == "bilinear" else 1.0
        if d > 1:
            x = F.adaptive_avg_pool2d(x, (math.floor(h / d), math.floor(w / d)))
        return F.grid_sample(
            x, grid.expand(x.shape[0], *grid.shape[1:]), mode=self.mode, padding_mode=self.pad_mode,
            align_corners=self.align,
        )


class Normalised(nn.Module):
    """FastAI's Normalize, where it comes after a transform that is in the file."""

    def __init__(self, transform: Normalize):
        super().__init__()
        self.register_buffer("mean", plain_tensor(transform.mean).float())
        self.register_buffer("std", plain_tensor(transform.std).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class Untyped(nn.Module):
    """A network whose output has a class of FastAI's, without it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.network(*inputs).as_subclass(torch.Tensor)


def with_baked(network: nn.Module, baked: list[Any]) -> nn.Module:
    """The network behind those batch transforms that the server has no step for."""
    if not baked:
        return network
    steps = [Normalised(t) if isinstance(t, Normalize) else Resample(t) for t in baked]
    return nn.Sequential(*steps, network).eval()


# ---- files, and the check that they are the learner's network ----------------------------------------------


Inputs = tuple[torch.Tensor, ...]


class Subject(Protocol):
    """A learner whose network is to become a file."""

    def reference(self, inputs: Inputs) -> torch.Tensor: ...
    def examples(self, free: bool) -> Iterator[Inputs]: ...
    def trace_inputs(self, free: bool) -> Inputs: ...


def file_bytes(module: torch.jit.ScriptModule) -> bytes:
    """The TorchScript file, without the debug records: those hold the paths of the machine that exported."""
    whole, bare = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, whole)
    whole.seek(0)
    reader = torch._C.PyTorchFileReader(whole)
    writer = torch._C.PyTorchFileWriter(bare)
    own = ("version", "byteorder", ".data/")  # the writer adds these itself
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and not name.startswith(own):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return bare.getvalue()


@dataclass
class Exported:
    """A file of the network, and what was proved of it."""

    content: bytes
    run: Callable[[Inputs], torch.Tensor]
    proved: str


def output_of(value: Any, whose: str) -> torch.Tensor:
    if isinstance(value, (tuple, list, dict)):
        raise Refusal(
            f"the {type(value).__name__} that {whose} gives", "a network has one tensor as its output here",
            "return one tensor",
        )
    return value


def traced(network: nn.Module, subject: Subject, free: bool) -> Exported:
    """The network as TorchScript, checked. It is not frozen: frozen weights become constants, which can no
    longer be moved to another device or number format."""
    inputs = subject.trace_inputs(free)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if type(output_of(network(*clones(inputs)), "the network")) is not torch.Tensor:
            network = Untyped(network)
        content = file_bytes(torch.jit.trace(network, clones(inputs), check_trace=False))
    loaded = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()

    def run(given: Inputs) -> torch.Tensor:
        with torch.no_grad():
            return loaded(*given)

    return Exported(content, run, compared(run, subject, free, TOLERANCE))


class Watched(TorchFunctionMode):
    """Notes where a network's Python code reads numbers out of a tensor: a trace keeps those of the one input that
    it saw, and with them every branch that they decided."""

    READS = ("__bool__", "__int__", "__float__", "__index__", "__array__", "item", "tolist", "numpy")

    def __init__(self):
        super().__init__()
        self.found: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        caller = sys._getframe(1)
        # FastAI's batch transforms read the size of a grid; they are scripted
        if getattr(func, "__name__", "") in self.READS and caller.f_globals.get("__name__") != "fastai.vision.augment":
            name = getattr(caller.f_code, "co_qualname", caller.f_code.co_name)
            self.found = self.found or f"{name}, line {caller.f_lineno}"
        return func(*args, **(kwargs or {}))


def check_network(subject: Subject) -> None:
    """What no trace could show: that the network is the same function for every input, alone or in a batch."""
    first = next(subject.examples(free=False))
    one = tuple(x[:1] for x in first)
    with Watched() as watched:
        alone = subject.reference(clones(one))
    if watched.found:
        raise Refusal(
            "the network", f"its Python code reads numbers of what it computes ({watched.found}), and a file keeps those of one input",
            "compute with tensors there, as with torch.where, or leave it out",
        )
    if numbers_differ(subject.reference(clones(one)), alone, TOLERANCE):
        raise Refusal(
            "the network", "it gives another answer each time", "leave out what is random in prediction, such as a dropout that stays on",
        )
    # another input beside it, which is darker, brighter and has more contrast
    both = tuple(torch.cat([x, x * 3 + 1 if x.is_floating_point() else x]) for x in one)
    answers = subject.reference(both)
    if len(answers) != 2 or numbers_differ(answers[:1], alone, TOLERANCE):
        raise Refusal(
            "the network", "it gives another answer for an input in a batch than for the same input alone",
            "leave out of its forward what is computed over a batch",
        )


def clones(inputs: Inputs) -> Inputs:
    """Networks may work in place."""
    return tuple(x.clone() for x in inputs)


def compared(run: Callable[[Inputs], torch.Tensor], subject: Subject, free: bool, tolerance: float) -> str:
    """Hold a file against the learner on its examples; raises where they differ."""
    worst, count, shapes = 0.0, 0, set()
    for inputs in subject.examples(free):
        want, got = subject.reference(clones(inputs)), run(clones(inputs))
        if type(got) is not torch.Tensor:
            raise Failure(f"the file gives {type(got).__name__} where the network gives a tensor")
        difference = numbers_differ(got, want, tolerance)
        if difference:
            raise Failure(f"the network's file gives other numbers than the learner: at {[list(x.shape) for x in inputs]} {difference}")
        worst, count = max(worst, (got - want).abs().max().item()), count + 1
        shapes.add(tuple(inputs[0].shape[2:]))
    sizes = f"{len(shapes)} sizes" if free and len(shapes) > 1 else "one size"
    return f"{count} batches of 1 to 8, {sizes}, largest difference {worst:.1e}"


def check_onnx_packages() -> None:
    """What writing and checking an ONNX file needs; asked for before the work begins."""
    # From 1.29 on, ONNX Runtime's public builds send events to their maker when they are opened.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise Failure(f"--format onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}")


@contextlib.contextmanager
def no_graphs_printed() -> Iterator[None]:
    """Without what torch.onnx's C++ prints where something cannot be exported: the whole graph."""
    torch._C._jit_set_onnx_log_output_stream("stderr")  # which is not held back until later
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def onnx_file(network: nn.Module, subject: Subject, names: list[str], sizes: list[int], free: bool) -> Exported:
    """The network as ONNX with a free batch, and free sides as well where they prove right; checked with
    onnxruntime."""
    import onnxruntime

    inputs = subject.trace_inputs(free)
    with torch.no_grad(), warnings.catch_warnings(), no_graphs_printed():
        warnings.simplefilter("ignore")
        shown = output_of(network(*clones(inputs)), "the network")
        network = network if type(shown) is torch.Tensor else Untyped(network)
        axes: dict[str, dict[int, str]] = {name: {0: "batch"} for name in [*names, "output"]}
        if free and sizes:
            axes[names[0]] |= {2: "height", 3: "width"}
            axes["output"] |= {2: "output_height", 3: "output_width"} if shown.ndim == 4 else {}
        written = io.BytesIO()
        torch.onnx.export(
            network, clones(inputs), written, dynamo=False, opset_version=ONNX_OPSET,
            input_names=names, output_names=["output"], dynamic_axes=axes,
        )
    session = onnxruntime.InferenceSession(written.getvalue(), providers=["CPUExecutionProvider"])

    def run(given: Inputs) -> torch.Tensor:
        feeds = {name: x.numpy() for name, x in zip(names, given)}
        return torch.from_numpy(session.run(None, feeds)[0])

    return Exported(written.getvalue(), run, compared(run, subject, free, TOLERANCE))


# ---- learners of images ------------------------------------------------------------------------------------


class ImageLearner:
    """A learner that takes one image."""

    content = "image"
    names: ClassVar[list[str]] = ["input"]

    def __init__(self, learn: Learner, palette: list[list[int]] | None, bake_all: bool = False):
        self.learn = learn
        valid = learn.dls.valid
        self.pre = Preprocessing()
        self.pre.mode = self.read_input(valid.dataset)
        ItemTransforms(self.pre).read(valid.after_item.fs)
        self.check_items(valid)
        strange = [t for t in valid.before_batch.fs if not is_noop(t)]
        if strange:
            raise Refusal(called(strange[0]), "it changes items before they become a batch", "leave it out")
        BatchTransforms(self.pre, bake_all).read(valid.after_batch.fs)
        self.target = self.read_target(valid, palette)

    # -- reading

    def check_items(self, valid: DataLoader) -> None:
        """What was read of the item transforms, made anew, must make the same of pictures of several sizes: samples
        may all have the network's size."""
        pre = self.pre
        steps: list[Any] = []
        if pre.size:
            number_of = {name: value for value, name in FILTERS.items()}
            resamples = (Image.Resampling(number_of[pre.filter]), Image.Resampling.NEAREST)
            steps.append(Resize(pre.size, method=pre.resize, pad_mode=pre.pad_mode or "reflection", resamples=resamples))
        if pre.center_crop:
            steps.append(CropPad(pre.center_crop, pad_mode=pre.pad_mode or "zeros"))
        draw = np.random.RandomState(5)
        height, width = pre.seen or (64, 48)
        for size in ((height, width), (2 * height + 1, width // 2 + 1), (height // 2 + 1, 2 * width + 3), (37, 113)):
            pixels = draw.randint(0, 256, (*size, 3) if pre.mode == "RGB" else size, dtype=np.uint8)
            kind = PILImage if pre.mode == "RGB" else PILImageBW
            want, got = ((kind.create(pixels),), (kind.create(pixels),))
            for step in [*steps, ToTensor()]:
                want = step(want, split_idx=1)
            for step in valid.after_item.fs:
                got = step(got, split_idx=1)
            if not torch.equal(plain_tensor(got[0]), plain_tensor(want[0])):
                raise Refusal(
                    "the item transforms", f"they make something else of an image of {by(size)} than {pre.sentence()}",
                    "use Resize, RandomResizedCrop or CropPad as FastAI has them",
                )

    @staticmethod
    def read_input(dataset: Datasets) -> str:
        """The colour mode, from the class of images that the data was made of."""
        images = dataset.tls[0]
        kinds = [t for t in images.types if isinstance(t, type)]
        kind = kinds[-1] if kinds else None
        if kind is PILImage or kind is PILImageBW:
            mode = kind._open_args.get("mode")
            if mode != ("RGB" if kind is PILImage else "L"):
                raise Refusal(kind.__name__, f"it opens images as {mode}", "leave its _open_args as they are")
            return mode
        name = kind.__name__ if kind else "the input"
        raise Refusal(
            name, "its values are no images of PILImage or PILImageBW",
            "use ImageBlock, or a table of TabularDataLoaders",
        )

    def read_target(self, valid: DataLoader, palette: list[list[int]] | None) -> Target:
        """What is predicted, from the transforms of the second half of the data."""
        targets = valid.dataset.tls[1]
        loss = Loss(self.learn.loss_func)
        found: Target | None = None
        for t in targets.tfms.fs:
            kind = type(t)
            if kind is Categorize:
                loss.softmax((-1, 1), "one label")
                found = SingleLabel(texts(t.vocab, "the vocabulary"))
            elif kind in (MultiCategorize, EncodedMultiCategorize):
                found = MultiLabel(texts(t.vocab, "the vocabulary"), loss.threshold("several labels"))
            elif kind is RegressionSetup:
                loss.none()
                found = Numbers(t.c or None)
            elif kind is not OneHotEncode and getattr(t, "decodes", None) and not is_noop(t):
                raise Refusal(called(t), "its decodes changes what learn.predict tells", "leave it out")
        kinds = [t for t in targets.types if isinstance(t, type)]
        if found is None and kinds and kinds[-1] is PILMask:
            threshold = loss.threshold("a mask") if loss.is_sigmoid else loss.softmax((1,), "a mask")
            found = Mask(self.codes(valid), palette, threshold)
        if found is None:
            name = kinds[-1].__name__ if kinds else "the target"
            raise Refusal(
                name, "it is no label, no set of labels, no mask and no number",
                "use CategoryBlock, MultiCategoryBlock, MaskBlock or RegressionBlock",
            )
        if palette and not isinstance(found, Mask):
            raise Failure("--palette is for masks")
        return found

    @staticmethod
    def codes(valid: DataLoader) -> list[str] | None:
        codes = next((t.codes for t in valid.after_item.fs if type(t) is AddMaskCodes and t.codes is not None), None)
        return None if codes is None else texts(codes, "the codes of the mask")

    def settings(self) -> dict[str, Any]:
        return self.pre.settings() | self.target.settings()

    def sentence(self) -> str:
        return self.pre.sentence()

    # -- the network

    def network(self, model: nn.Module) -> nn.Module:
        return with_baked(plain_network(model), self.pre.baked)

    @property
    def fixed(self) -> bool:
        """Whether all images come to the network in one size."""
        return self.pre.seen is not None

    def reference(self, inputs: Inputs) -> torch.Tensor:
        """FastAI's own transforms and network."""
        x: Any = TensorImage(inputs[0])
        with torch.no_grad():
            for transform in self.pre.baked:
                x = transform(x, split_idx=1)
            return plain_tensor(output_of(self.learn.model(x), "the network"))

    def trace_inputs(self, free: bool) -> Inputs:
        size = TRACE_SIZE if free else self.pre.seen
        return (self.draw(torch.Generator().manual_seed(7), 2, size),)

    def draw(self, generator: torch.Generator, batch: int, size: tuple[int, int]) -> torch.Tensor:
        made = torch.rand(batch, self.pre.channels, *size, generator=generator)
        return made if self.pre.baked else (made - 0.5) * 4

    def examples(self, free: bool) -> Iterator[Inputs]:
        """Twenty batches of other sizes and numbers than the trace's, the network's own size first."""
        generator = torch.Generator().manual_seed(11)
        own = self.pre.seen or (224, 224)
        made, tried = 0, 0
        while made < 21:
            size = own if made == 0 or not free else tuple(torch.randint(40, 225, (2,), generator=generator).tolist())
            batch = 1 + made % 8
            if made != 7:  # large batches of large images take their time, and one shows as much as many
                batch = max(1, min(batch, 100_000 // (size[0] * size[1])))
            inputs = (self.draw(generator, batch, size),)
            try:
                self.reference(clones(inputs))
            except Exception as error:  # a user's own network can fail with anything
                # a network may need a certain size, or more than so many pixels
                tried += 1
                if not free or tried > 20:
                    raise Failure(f"the learner itself fails at {by(size)}: {first_line(error)}") from error
                continue
            made += 1
            yield inputs

    # -- samples

    def samples(self, files: list[Path]) -> list[Sample]:
        made = []
        for file in files:
            try:
                made.append(self.sample(file))
            except (Refusal, Failure):
                raise
            except Exception as error:  # Pillow's are of many kinds, and a user's own code can fail with anything
                raise Failure(f"sample {file}: FastAI itself does not predict it: {first_line(error)}") from error
        return made

    def sample(self, file: Path) -> Sample:
        """What FastAI makes of a file, stage by stage."""
        content = file.read_bytes()
        item, image = self.opened(file, content)
        if type(image) not in (PILImage, PILImageBW) or image.mode != self.pre.mode:
            raise Refusal(f"the input of {file.name}", f"it becomes {image!r}", "use ImageBlock")
        own = type(image).create(io.BytesIO(content).getvalue())
        if np.asarray(own).tobytes() != np.asarray(image).tobytes():
            raise Refusal(
                "the type transforms", f"they make other pixels of {file.name} than {type(image).__name__}.create",
                "leave it to ImageBlock to open images",
            )
        loader = self.learn.dls.test_dl([item], num_workers=0)
        loader.before_iter()
        first = loader.do_item(0)
        pixels = plain_tensor(first[0] if isinstance(first, tuple) else first)
        if pixels.dtype != torch.uint8:
            raise Refusal("the item transforms", f"they make {pixels.dtype} of an image", "leave numbers to IntToFloatTensor")
        pixels = pixels.permute(1, 2, 0).contiguous().numpy()
        self.check_size(file, image, pixels)
        known = self.tensors(loader)
        raw = self.raw(item)
        stages = [
            Stage("decode", [levels(image)], copies=False),
            Stage("resize", [pixels]),
            Stage("normalise", [known[0].numpy()]),
        ]
        with quiet(self.learn):
            predicted = self.learn.predict(item)
        return Sample(
            file.name, content, stages, raw, predicted,
            {"FastAI's": (known,), "the server's": (self.server(file, pixels, known),)},
        )

    def opened(self, file: Path, content: bytes) -> tuple[Any, Any]:
        """What to give to `learn.predict`, and the image that FastAI makes of it. The path as everyone does;
        the bytes where the path would go through functions that look for something else."""
        images = self.learn.dls.valid_ds.tls[0]
        for item in (file, content):
            with contextlib.suppress(AssertionError):
                rest = [t for t in images.tfms.fs[images.infer_idx(item):] if not is_noop(t)]
                if len(rest) == 1 and called(rest[0]).endswith("create"):
                    return item, rest[0](item)
        others = [t for t in images.tfms.fs if not is_noop(t) and not called(t).endswith("create")]
        names = [called(t) for t in others]
        steps = [called(t) for t in others if isinstance(t, (Resize, CropPad, RandomCrop, RandomResizedCrop))]
        if steps:
            raise Refusal(some(steps), "it stands among what opens an image", "move it to item_tfms, or to after_item of the loaders")
        raise Refusal(
            some(names) or "the input", "it is your own code, and makes an image of what is sent",
            "leave it to ImageBlock to open images",
        )

    def check_size(self, file: Path, image: Image.Image, pixels: np.ndarray) -> None:
        want = self.pre.seen or (image.size[1], image.size[0])
        if pixels.shape[:2] != want:
            raise Refusal(
                "the item transforms", f"they make {by(pixels.shape[:2])} of {file.name} where {by(want)} was read",
                "report this",
            )

    def tensors(self, loader: DataLoader) -> torch.Tensor:
        """What the loader makes, up to the transforms that are in the file."""
        batch = loader.one_batch()
        seen = plain_tensor(batch[0] if isinstance(batch, tuple) else batch)
        made: Any = loader.create_batch([loader.do_item(0)])
        made = made[0] if isinstance(made, (tuple, list)) else made
        for transform in loader.after_batch.fs:
            if transform in self.pre.baked:
                break
            made = transform(made, split_idx=1)
        known = plain_tensor(made)
        if not self.pre.baked and not torch.equal(known, seen):
            raise Refusal(
                "the batch transforms", "they give another result each time", "leave out what is random in prediction",
            )
        return known

    def server(self, file: Path, pixels: np.ndarray, known: torch.Tensor) -> torch.Tensor:
        """What the server will make of the pixels, which must be what FastAI makes of them."""
        ours = self.pre.numbers(pixels)
        # an identity that is sampled moves a value by a hundredth of a level
        limit = 1e-3 if self.pre.idle_affine else 1e-6
        worst = (ours - known).abs().max().item() if ours.shape == known.shape else math.inf
        if not worst <= limit:
            raise Refusal(
                "the batch transforms",
                f"they make other numbers of {file.name} than division and normalisation do, by {worst:.1e}",
                "leave out what is not FastAI's own",
            )
        return ours

    def raw(self, item: Any) -> torch.Tensor:
        """The network's output, as the learner itself computes it."""
        loader = self.learn.dls.test_dl([item], num_workers=0)
        with quiet(self.learn):
            return plain_tensor(self.learn.get_preds(dl=loader, act=lambda x: x)[0])


def levels(image: Image.Image) -> np.ndarray:
    """Height, width, channels."""
    made = np.asarray(image)
    return made if made.ndim == 3 else made[:, :, None]


@contextlib.contextmanager
def quiet(learn: Learner) -> Iterator[None]:
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---- learners of tables ------------------------------------------------------------------------------------


class TableNetwork(nn.Module):
    """The network of a table, called with those of its two inputs that have columns."""

    def __init__(self, network: nn.Module, categorical: int, continuous: int, with_cont: bool):
        super().__init__()
        self.network = network
        self.categorical, self.continuous, self.with_cont = categorical, continuous, with_cont

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        given = list(inputs)
        rows = given[0].size(0)
        cats = given.pop(0) if self.categorical else inputs[0].new_zeros((rows, 0), dtype=torch.int64)
        conts = given.pop(0) if self.continuous else inputs[0].new_zeros((rows, 0), dtype=torch.float32)
        return self.network(cats, conts) if self.with_cont else self.network(cats)


class TableLearner:
    """A learner that takes a row of a table."""

    content = "table"
    fixed = False
    ROWS = 5  # of a CSV file that become samples

    def __init__(self, learn: Learner):
        self.learn = learn
        self.data = learn.dls.valid_ds
        if not isinstance(learn, TabularLearner):
            raise Refusal(type(learn).__name__, "it predicts no rows", "export what tabular_learner made")
        self.cats, self.conts = [str(n) for n in self.data.cat_names], [str(n) for n in self.data.cont_names]
        self.classes: dict[str, list[Any]] = {}
        self.fills: dict[str, float] = {}
        self.flags: dict[str, str] = {}  # a column that says whether another was missing
        self.means: dict[str, float] = {}
        self.stds: dict[str, float] = {}
        self.target: Target | None = None
        self.kinds: list[type] = []  # of the procs so far
        for proc in self.data.procs.fs:
            self.read(proc)
        if self.target is None:
            raise Refusal("the table", "it has no column that is predicted", "name it with y_names")
        strange = [n for n in self.cats if n not in self.classes]
        if strange:
            raise Refusal(f"the column {strange[0]}", "Categorify has no categories for it", "put Categorify among the procs")
        for transform in [*learn.dls.valid.after_item.fs, *learn.dls.valid.before_batch.fs, *learn.dls.valid.after_batch.fs]:
            if type(transform) not in (ReadTabBatch, ToTensor) and not is_noop(transform):
                raise Refusal(called(transform), "it changes batches of rows", "do it before training, in the table")
        self.settings()  # refuses what no configuration can hold, before anything is computed
        self.names = [name for name, columns in (("categorical", self.cats), ("continuous", self.conts)) if columns]

    def read(self, proc: Any) -> None:
        """One of the table's procs."""
        kind, name = type(proc), called(proc)
        if kind in self.kinds and not is_noop(proc):
            raise Refusal(name, "it stands among the procs more than once", "leave one")
        self.kinds.append(kind)
        if kind is Categorify:
            self.classes = {str(n): list(proc.classes[n].items) for n in self.data.cat_names if n in proc.classes}
        elif kind is FillMissing:
            self.fills = {str(n): float(v) for n, v in proc.na_dict.items()}
            self.flags = {f"{n}_na": n for n in self.fills} if proc.add_col else {}
        elif kind is Normalize:
            self.means = {str(n): float(v) for n, v in proc.means.items()}
            self.stds = {str(n): float(v) for n, v in proc.stds.items()}
        elif kind is Categorize:
            self.only_one(name)
            Loss(self.learn.loss_func).softmax((-1, 1), "one label")
            self.target = SingleLabel(texts(proc.vocab, "the vocabulary"), is_table=True)
        elif kind is RegressionSetup:
            Loss(self.learn.loss_func).none()
            self.target = Numbers(proc.c or None, is_table=True)
        elif not is_noop(proc):
            own = "the server has no such step for a row" if is_fastai(kind) else "it is your own code, and runs in prediction too"
            raise Refusal(name, own, "use Categorify, FillMissing and Normalize, or do it before training, in the table")

    def only_one(self, name: str) -> None:
        if len(self.data.y_names) != 1:
            raise Refusal(name, f"it makes labels of {len(self.data.y_names)} columns", "predict one")

    def settings(self) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        if self.cats:
            columns["categorical"] = [self.categorical(n) for n in self.cats]
        if self.conts:
            columns["continuous"] = [self.continuous(n) for n in self.conts]
        return {"columns": columns} | self.target.settings()

    def categorical(self, name: str) -> dict[str, Any]:
        values = [self.value(name, v) for v in self.classes[name][1:]]
        if name in self.flags and self.flags[name] in self.conts:
            return {"name": name, "missing": self.flags[name]} | ({} if values == [False, True] else {"categories": values})
        return {"name": name, "categories": values}

    @staticmethod
    def value(column: str, value: Any) -> Any:
        plain = value.item() if isinstance(value, np.generic) else value
        if not isinstance(plain, (str, bool, int, float)):
            raise Refusal(
                f"the column {column}", f"its category {plain!r} is a {type(plain).__name__}",
                "make it text or a number before training",
            )
        return plain

    def continuous(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": name}
        if name in self.fills:
            entry["fill"] = self.fills[name]
        if name in self.means:
            entry |= {"mean": self.means[name], "std": self.stds[name]}
        strange = [key for key, value in entry.items() if key != "name" and not math.isfinite(value)]
        if strange:
            why = f"its {strange[0]} is {entry[strange[0]]}"
            raise Refusal(f"the column {name}", why, "clean it of what is not finite and train again")
        return entry

    def sentence(self) -> str:
        filled = f", missing ones filled in {some(list(self.fills))}" if self.fills else ""
        return f"{len(self.cats)} columns of categories, {len(self.conts)} of numbers{filled}{', normalised' if self.means else ''}"

    # -- the network

    def network(self, model: nn.Module) -> nn.Module:
        return TableNetwork(plain_network(model), len(self.cats), len(self.conts), self.data.with_cont).eval()

    def reference(self, inputs: Inputs) -> torch.Tensor:
        network = TableNetwork(self.learn.model, len(self.cats), len(self.conts), self.data.with_cont).eval()
        with torch.no_grad():
            return plain_tensor(output_of(network(*inputs), "the network"))

    def draw(self, generator: torch.Generator, rows: int) -> Inputs:
        codes = [torch.randint(0, len(self.classes[n]), (rows, 1), generator=generator) for n in self.cats]
        numbers = torch.randn(rows, len(self.conts), generator=generator) * 2
        return (*([torch.cat(codes, dim=1)] if codes else []), *([numbers] if self.conts else []))

    def trace_inputs(self, free: bool) -> Inputs:
        return self.draw(torch.Generator().manual_seed(7), 2)

    def examples(self, free: bool) -> Iterator[Inputs]:
        generator = torch.Generator().manual_seed(11)
        for made in range(21):
            yield self.draw(generator, 1 + made % 8)

    # -- samples

    def samples(self, files: list[Path]) -> list[Sample]:
        made = []
        for file in files:
            for name, content, row in self.rows(file):
                made.append(self.sample(name, content, row))
        return made

    def rows(self, file: Path) -> Iterator[tuple[str, bytes, pd.Series]]:
        """The rows of a file, each with the body that a client sends of it."""
        try:
            if file.suffix.lower() == ".csv":
                table = pd.read_csv(file).head(self.ROWS)
                if table.empty:
                    raise ValueError("it has no rows")
                for place in range(len(table)):
                    row = table.iloc[place]
                    yield f"{file.stem}-{place + 1}.json", self.body(row), row
            else:
                content = file.read_bytes()
                row = json.loads(content)
                if not isinstance(row, dict):
                    raise ValueError("it is no object")
                yield file.name, content, pd.Series(row, dtype=object)
        except ValueError as error:
            raise Failure(f"sample {file}: {error}; give a CSV file with a header, or a row as a JSON object") from error

    def body(self, row: pd.Series) -> bytes:
        """A row as a JSON object of those columns that the network is asked with."""
        told = {}
        for name in [*(n for n in self.cats if n not in self.flags), *self.conts]:
            if name in row.index:
                value = row[name].item() if isinstance(row[name], np.generic) else row[name]
                told[name] = None if pd.isnull(value) else value
        infinite = [name for name, value in told.items() if isinstance(value, float) and math.isinf(value)]
        if infinite:
            raise ValueError(f"the column {infinite[0]} is infinite in a row, and JSON has no word for that")
        return as_json(told)

    def sample(self, name: str, content: bytes, row: pd.Series) -> Sample:
        wanted = [n for n in [*self.cats, *self.conts] if n not in self.flags]
        lacking = [n for n in wanted if n not in row.index]
        if lacking:
            raise Failure(f"sample {name} has no column {lacking[0]!r}, and FastAI predicts no row without it")
        # FastAI cannot take a row of mixed types where no column is of categories
        row = row[wanted] if self.cats else row[wanted].astype(float)
        try:
            with quiet(self.learn):
                loader = self.learn.dls.test_dl(row.to_frame().T)
                loader.dataset.conts = loader.dataset.conts.astype(np.float32)  # as in learn.predict
                batch = loader.one_batch()
                raw = plain_tensor(self.learn.get_preds(dl=loader, act=lambda x: x)[0])
                predicted = self.learn.predict(row)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise Failure(f"sample {name}: FastAI itself does not predict it: {error}") from error
        tensors = tuple(plain_tensor(x) for x, columns in zip(batch, (self.cats, self.conts)) if columns)
        return Sample(
            name, content, [Stage("preprocess", [x[0].numpy() for x in tensors])], raw, predicted,
            {"FastAI's": tensors},
        )


# ---- known answers -----------------------------------------------------------------------------------------


@dataclass
class Stage:
    """What a step of the preprocessing made."""

    name: str
    tensors: list[np.ndarray]
    copies: bool = True

    def write(self, folder: Path, sample: str) -> dict[str, Any]:
        """The entry of a record, with its copies in the folder."""
        return {"stage": self.name, "tensors": [self.entry(place, folder, sample) for place in range(len(self.tensors))]}

    def entry(self, place: int, folder: Path, sample: str) -> dict[str, Any]:
        tensor = np.ascontiguousarray(self.tensors[place])
        digest = hashlib.sha256(tensor.tobytes()).hexdigest()
        entry: dict[str, Any] = {"dtype": tensor.dtype.name, "shape": list(tensor.shape), "sha256": digest}
        if tensor.ndim == 3:
            axes = (0, 1) if tensor.dtype == np.uint8 else (1, 2)
            entry["channel_means"] = tensor.mean(axis=axes, dtype=np.float64).tolist()
        if self.copies and tensor.size <= COPY_LIMIT:
            kind = {"uint8": "u8", "int64": "i64", "float32": "f16"}[tensor.dtype.name]
            which = f".{place}" if len(self.tensors) > 1 else ""
            entry["copy"] = f"{sample}.{self.name}{which}.{kind}"
            (folder / entry["copy"]).write_bytes(tensor.astype("<f2").tobytes() if kind == "f16" else tensor.tobytes())
        return entry


@dataclass
class Sample:
    """One input, and what the learner made of it."""

    name: str
    content: bytes
    stages: list[Stage]
    raw: torch.Tensor  # the learner's output, with the batch's dimension
    predicted: Any
    tensors: dict[str, Inputs]  # what goes into the file, by who made it

    def prove(self, exported: Exported, target: Target) -> str:
        """The file must lead to the same answer, from FastAI's tensors and from the server's."""
        odd = target.odd(self.predicted)
        if odd:
            raise Refusal(
                "what learn.predict tells", f"of {self.name} {odd}",
                "leave the decodes of the loss and of the transforms as FastAI has them",
            )
        for whose, inputs in self.tensors.items():
            raw = exported.run(clones(inputs))
            difference = target.difference(raw, self.predicted)
            if difference:
                raise Failure(
                    f"sample {self.name}: of {whose} tensors the network's file makes another answer than learn.predict: {difference}; "
                    "if the learner has callbacks of your own, remove them before learn.export"
                )
        return f"sample {self.name}: {target.tell(self.predicted)}, as learn.predict"

    def write(self, folder: Path, target: Target) -> tuple[Path, Path]:
        """The input and its record with the files beside it, in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / self.name
        file.write_bytes(self.content)
        stages = [stage.write(folder, self.name) for stage in self.stages]
        answers = []
        for answer in target.answers(self.predicted):
            name = f"{self.name}.{answer.suffix}"
            (folder / name).write_bytes(answer.body)
            entry = {"query": [list(pair) for pair in answer.query], "file": name, "content_type": answer.content_type}
            answers.append(entry | {"tolerance": answer.tolerance, "agreement": answer.agreement})
        record = {"known_answers": 1, "made_by": made_by(), "stages": stages, "output": [summary(self.raw[0])], "answers": answers}
        path = folder / f"{self.name}.json"
        path.write_bytes(as_json(record))
        return file, path


def summary(output: torch.Tensor, count: int = 64) -> dict[str, Any]:
    """What is kept of an output: its moments, and elements at places spread evenly over it."""
    flat = output.contiguous().numpy().ravel()
    places = min(count, flat.size)
    exact = flat.astype(np.float64)
    return {
        "dtype": flat.dtype.name, "shape": list(output.shape), "min": float(exact.min()), "max": float(exact.max()),
        "mean": float(exact.mean()), "std": float(exact.std()),
        "values": [float(flat[k * flat.size // places]) for k in range(places)],
    }


def made_by() -> str:
    return f"fastai {fastai.__version__}, torch {torch.__version__}, Pillow {PIL.__version__}"


# ---- model-config.yaml -------------------------------------------------------------------------------------


def number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def scalar(value: Any) -> str:
    """A value as YAML of either version reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(scalar(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {scalar(v)}" for k, v in value.items()) + "}"
    words = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
    if re.fullmatch(r"[A-Za-z](?:[A-Za-z0-9_ -]*[A-Za-z0-9_])?", value) and value.lower() not in words:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found.group()):04x}", quoted)


def config_text(settings: dict[str, Any], source: str) -> str:
    """model-config.yaml, a line a key, a column and a name."""
    lines = [f"# Written by export_fastai.py from {source}: what the learner does around its network.", "handler:"]
    if "size" in settings or "center_crop" in settings:
        lines.insert(1, "# Sizes are height, width.")
    for key, value in settings.items():
        if isinstance(value, dict):
            lines.append(f"  {key}:")
            for inner, entries in value.items():
                lines += [f"    {inner}:", *(f"      - {scalar(entry)}" for entry in entries)]
        else:
            lines.append(f"  {key}: {scalar(value)}")
    return "\n".join(lines) + "\n"


# ---- mar ---------------------------------------------------------------------------------------------------


def find_mar(given: Path | None) -> Path:
    """The program that packs: as given, on the path, or built in the repository that this script is part of."""
    root = Path(__file__).resolve().parent.parent
    on_path = shutil.which("mar")
    places = [given] if given else [Path(on_path) if on_path else None, root / "target/release/mar", root / "target/debug/mar"]
    for place in places:
        with contextlib.suppress(OSError):  # a file that is no program
            program = place.resolve() if place and place.is_file() else None
            said = subprocess.run([program, "pack", "--help"], capture_output=True, text=True, check=False) if program else None
            if said and "--sample" in said.stdout:
                return program
    where = f"{given} is not a mar that knows --sample" if given else "no mar on the PATH or in target/ knows --sample"
    raise Failure(f"{where}; build it with `cargo build --release -p mar-cli`, and name it with --mar if it lies elsewhere")


def pack(mar: Path, out: Path, arguments: list[str | Path], name: str) -> str:
    """Pack into a folder of its own, then move the whole archive to its place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        done = subprocess.run([mar, "pack", *arguments, "--export-path", folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"mar pack failed: {done.stderr.strip() or done.stdout.strip()}")
        said = [line.removeprefix("mar: warning: ") for line in done.stderr.splitlines()]
        other = next((line for line in said if "makes something else at the stage" in line), None)
        if other:
            tested = PIL.__version__.startswith(TESTED["PIL"] + ".")
            remedy = "report this" if tested else f"try Pillow {TESTED['PIL']}; this is {PIL.__version__}"
            raise Refusal("the preprocessing", f"the server does it otherwise: {other}", remedy)
        useless = next((line for line in said if "no server will load" in line or "the handler refuses it" in line), None)
        if useless:
            raise Failure(f"no server could answer with the archive: {useless}")
        (Path(folder) / f"{name}.mar").replace(out)
    return done.stderr.strip()


# ---- the command -------------------------------------------------------------------------------------------


def open_learner(path: Path, code: list[Path]) -> Learner:
    """Unpickle a learner. What it was trained with may refer to functions of a notebook or of a module."""
    sys.path[:0] = [str(folder) for folder in (path.resolve().parent, *(file.resolve().parent for file in code))]
    for file in code:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if spec is None or spec.loader is None:
            raise Failure(f"{file} is not Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(file.stem, module)
        spec.loader.exec_module(module)
        main = sys.modules["__main__"]
        for name, value in vars(module).items():
            if not name.startswith("_") and not hasattr(main, name):
                setattr(main, name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            learn = load_learner(path, cpu=True)
    except FileNotFoundError as error:
        raise Failure(f"there is no {path}") from error
    except Exception as error:  # a pickle can fail with anything
        if isinstance(error, UnboundLocalError):
            error = why_not_loaded(path) or error
        remedy = "run this where it was trained, and name the files that define what it refers to with --code"
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise Failure(f"{path} does not open: {why}; {remedy}") from error
    if not isinstance(learn, Learner):
        raise Failure(f"{path} holds a {type(learn).__name__}; export the learner with learn.export")
    learn.model = getattr(learn.model, "_orig_mod", learn.model)  # what torch.compile was given
    learn.model.float().eval()
    return learn


def why_not_loaded(path: Path) -> Exception | None:
    """FastAI's load_learner swallows the name of a module that is not there."""
    try:
        torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        return error
    return None


def check_learner(learn: Learner) -> None:
    """What no kind of learner may have."""
    if not is_fastai(defining(type(learn), "predict")):
        raise Refusal(type(learn).__name__, "its predict is your own code", "export a Learner of FastAI's own")
    for callback in learn.cbs:
        # FastAI passes the events of a batch over in prediction where run_valid says so
        for event in ("before_validate", *(("before_batch", "after_pred") if callback.run_valid else ())):
            kind = next((base for base in type(callback).__mro__ if event in vars(base)), None)
            if kind and kind is not Callback and not is_fastai(kind):
                raise Refusal(
                    type(callback).__name__, f"its {event} runs in prediction too",
                    "remove it with learn.remove_cb before learn.export",
                )
    if not is_fastai(type(learn.dls.valid)):
        raise Refusal(
            type(learn.dls.valid).__name__, "it is a data loader of your own", "use FastAI's DataBlock or DataLoaders",
        )


def read_learner(learn: Learner, palette: list[list[int]] | None, bake_all: bool = False) -> ImageLearner | TableLearner:
    """What kind of learner it is, with all that is to be carried over."""
    check_learner(learn)
    dataset = learn.dls.valid_ds
    if isinstance(dataset, Tabular):
        if palette:
            raise Failure("--palette is for masks")
        return TableLearner(learn)
    if not isinstance(dataset, Datasets):
        raise Refusal(type(dataset).__name__, "it is neither Datasets nor a table", "make the data with DataBlock")
    if dataset.n_inp != 1:
        raise Refusal(f"the {dataset.n_inp} inputs", "the handlers take one", "export a learner of one input")
    if len(dataset.tls) != 2:
        raise Refusal(f"the {len(dataset.tls) - 1} outputs", "the handlers answer with one", "export a learner of one output")
    return ImageLearner(learn, palette, bake_all)


def warn_of_versions() -> None:
    found = {"fastai": fastai.__version__, "torch": torch.__version__, "PIL": PIL.__version__}
    untested = {name: tested for name, tested in TESTED.items() if not (found[name] + ".").startswith(tested + ".")}
    other = [f"{name} {found[name]} (tested: {tested})" for name, tested in untested.items()]
    if other:
        print(f"export_fastai: warning: not tested with {', '.join(other)}; all checks are made all the same", file=sys.stderr)


def read_palette(path: Path | None) -> list[list[int]] | None:
    if path is None:
        return None
    try:
        palette = json.loads(path.read_text(encoding="utf-8"))
        assert palette and all(len(c) == 3 and all(type(n) is int and 0 <= n <= 255 for n in c) for c in palette)
    except (OSError, ValueError, TypeError, AssertionError) as error:
        raise Failure(f"--palette {path}: it must be JSON, a list of [red, green, blue], each 0 to 255") from error
    return palette


def in_torchscript(learner: ImageLearner | TableLearner, model: nn.Module) -> tuple[Exported, bool]:
    """The network's file; for all sizes if it can be, else for the one that the learner's images have."""
    network = learner.network(model)
    try:
        return traced(network, learner, free=True), True
    except Refusal:
        raise
    except Exception as error:  # a user's own network can fail with anything
        if not learner.fixed:
            why = f"its trace does not hold at all sizes: {first_line(error)}"
            remedy = "give all images one size with Resize" if learner.content == "image" else "export what tabular_learner made"
            raise Refusal("the network", why, remedy) from error
    try:
        return traced(network, learner, free=False), False
    except (Refusal, Failure):
        raise
    except Exception as error:
        why = f"torch.jit.trace fails: {first_line(error)}"
        raise Refusal("the network", why, "leave out what only Python can do in its forward") from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="From a FastAI learner to an archive that answers as learn.predict does.",
        epilog="Exit status: 0 packed; 1 stopped, and the last line says why, with nothing written; 2 wrong usage.",
    )
    parser.add_argument("learner", type=Path, help="what learn.export wrote")
    parser.add_argument(
        "--sample", type=Path, action="append", required=True, metavar="FILE",
        help="an image whose answer is to be known; for tables a CSV file of rows, or a row as JSON; repeatable",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.mar", help="the archive to write")
    parser.add_argument(
        "--format", choices=["torchscript", "onnx", "both"], default="torchscript",
        help="of the network's file; torchscript unless given, and both serves that and carries ONNX beside it",
    )
    parser.add_argument("--name", help="of the model; the name of --out unless given")
    parser.add_argument("--version", default="1.0", help="of the model; 1.0")
    parser.add_argument(
        "--palette", type=Path, metavar="FILE",
        help="colours of a mask's classes: JSON, a list of [red, green, blue]; PASCAL VOC's unless given",
    )
    parser.add_argument(
        "--code", type=Path, action="append", default=[], metavar="FILE.py",
        help="Python that defines what the learner refers to; repeatable",
    )
    parser.add_argument("--mar", type=Path, help="the program that packs; else it is looked for")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the files that were packed there")
    parser.add_argument("--force", action="store_true", help="replace --out")
    return parser.parse_args()


def export(args: argparse.Namespace) -> None:
    if args.out.suffix != ".mar":
        raise Failure(f"--out {args.out} must end in .mar")
    if args.out.is_dir():
        raise Failure(f"{args.out} is a folder")
    if args.out.exists() and not args.force:
        raise Failure(f"{args.out} exists; replace it with --force")
    for file in args.sample:
        if not file.is_file():
            raise Failure(f"there is no sample {file}")
    if args.format != "torchscript":
        check_onnx_packages()
    mar, name, palette = find_mar(args.mar), args.name or args.out.stem, read_palette(args.palette)
    warn_of_versions()
    learner, exported, free, samples = proved(args, palette)
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        main_file, extra = files(args, learner, exported, free, samples, folder / name)
        config = folder / "model-config.yaml"
        config.write_text(config_text(learner.settings(), args.learner.name), encoding="utf-8")
        given: list[str | Path] = [
            "--model-name", name, "--version", args.version, "--handler", learner.target.handler,
            "--serialized-file", main_file, "--config-file", config,
        ]
        given += ["--extra-files", extra] if extra else []
        for place, made in enumerate(samples, 1):  # a folder each, because two may have one name
            file, record = made.write(folder / "samples" / str(place), learner.target)
            given += ["--sample", file, "--expect", record]
        said = pack(mar, args.out, given, name)
    if said:
        print(said, file=sys.stderr)
    print(f"packed {args.out}: {args.out.stat().st_size:,} bytes")


def proved(
    args: argparse.Namespace, palette: list[list[int]] | None,
) -> tuple[ImageLearner | TableLearner, Exported, bool, list[Sample]]:
    """Read, export and prove; a second time, with more in the file, where sampling noise tells in an answer."""
    for bake_all in (False, True):
        learner = read_learner(open_learner(args.learner, args.code), palette, bake_all)
        samples = learner.samples(args.sample)
        check_output(learner, samples)
        check_network(learner)
        check_repeats(learner, args.sample[0], samples[0])
        # a second learner, because the first one's network must stay whole to be compared with
        exported, free = in_torchscript(learner, open_learner(args.learner, args.code).model)
        try:
            said = [made.prove(exported, learner.target) for made in samples]
        except Failure:
            if bake_all or not (isinstance(learner, ImageLearner) and learner.pre.idle_affine):
                raise
            continue
        print(f"{args.learner.name}: {learner.target.sentence()} ({Loss(learner.learn.loss_func).name})")
        print(f"preprocessing: {learner.sentence()}")
        print(f"torchscript: {exported.proved}")
        if not free and learner.fixed and isinstance(learner, ImageLearner):
            print(f"torchscript: the file holds at {by(learner.pre.seen)} alone, which is the size that every image gets")
        print("\n".join(said))
        return learner, exported, free, samples
    raise AssertionError("the loop returns or raises")


def check_repeats(learner: ImageLearner | TableLearner, file: Path, known: Sample) -> None:
    """Callbacks and predict of the learner may do what its network does not."""
    again = learner.samples([file])[0]
    if numbers_differ(again.raw, known.raw, TOLERANCE):
        raise Refusal(
            "what learn.predict does", f"it gives another answer for {known.name} each time",
            "remove callbacks that change the network or are random in prediction, such as MCDropoutCallback, before learn.export",
        )


def check_output(learner: ImageLearner | TableLearner, samples: list[Sample]) -> None:
    """The network must give as many numbers as there are names."""
    shape = list(samples[0].raw.shape)
    want = learner.target.outputs
    dims = 4 if isinstance(learner.target, Mask) else 2
    if isinstance(learner.target, Numbers):
        if len(shape) > 2:
            raise Refusal("the network's output", f"it has the shape {shape}", "give [batch, numbers]")
    elif len(shape) != dims or want is not None and shape[1] != want:
        names = f"{want} names" if want is not None else "classes"
        raise Refusal(
            "the network's output", f"it has the shape {shape} for {names}",
            f"give it {dims} dimensions with the classes in the second",
        )


def files(
    args: argparse.Namespace, learner: ImageLearner | TableLearner, exported: Exported, free: bool, samples: list[Sample], stem: Path,
) -> tuple[Path, Path | None]:
    """Write the network; the main file and another one beside it."""
    script, onnx = stem.with_name(stem.name + ".pt"), stem.with_name(stem.name + ".onnx")
    if args.format != "onnx":
        script.write_bytes(exported.content)
    if args.format == "torchscript":
        return script, None
    made = in_onnx(args, learner, free)
    onnx.write_bytes(made.content)
    print(f"onnx: opset {ONNX_OPSET}, {made.proved}")
    for sample in samples:
        sample.prove(made, learner.target)
    return (script, onnx) if args.format == "both" else (onnx, None)


def in_onnx(args: argparse.Namespace, learner: ImageLearner | TableLearner, free: bool) -> Exported:
    """The network as ONNX, with free sides where it can have them, proved as the TorchScript file was."""
    network = learner.network(open_learner(args.learner, args.code).model)
    sizes = [2, 3] if learner.content == "image" else []
    for sides in [True, False] if free and learner.fixed else [free]:
        try:
            return onnx_file(network, learner, learner.names, sizes, sides)
        except Refusal:
            raise
        except Exception as error:  # torch.onnx, ONNX Runtime and the comparison have errors of all kinds
            # torch.onnx goes on with an invitation and its graph
            cause = re.split(r"\. Please feel free|\s*\[Caused by", first_line(error))[0]
            if not (sides and learner.fixed):
                raise Refusal("the network to ONNX", cause, "use --format torchscript") from error
            print(f"onnx: for one size alone: {cause}")
    raise AssertionError("the loop returns or raises")


def main() -> int:
    args = arguments()
    try:
        export(args)
    except (Refusal, Failure, OSError) as error:
        print(f"export_fastai: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
