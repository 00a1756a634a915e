"""What the servers are asked: each job's network, request and right answer. Standard library alone.

A job says nothing of any server. A peer (`peer.py`) turns it into a request in that server's natural form and brings
the answer back into one of three forms, so that every answer is held against the right one before anything is timed:

    numbers   a list of floats
    classes   {class: probability}, the likeliest first
    mask      a `Mask`: one class a pixel
"""

import array
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts/lib"))  # `served`, which the scripts have too
MATERIAL = ROOT / "bench/material"  # what is small is kept in the repository
EXAMPLE = ROOT / "examples/street_scenes"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "marserve/bench"
MADE = CACHE / "material"  # the rest is made once, by bench/make.py

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LABELS = ("sky", "building", "road", "sidewalk", "car", "tree", "pedestrian")
FORMS = {"torchscript": "TorchScript", "onnx": "ONNX"}


@dataclass(frozen=True)
class Network:
    """Weights in both forms, and what goes in and comes out; sides without the batch's."""

    name: str
    folder: Path
    input: str
    shape: tuple
    output: str
    beside: tuple = ()  # files that an ONNX file keeps its weights in; they lie in the same folder
    argument: str = ""  # what TorchScript calls the input, where it has another name there

    def file(self, form):
        return self.folder / f"{self.name}.{'pt' if form == 'torchscript' else 'onnx'}"

    def input_in(self, form):
        """The input's name in one of the files."""
        return self.argument if form == "torchscript" and self.argument else self.input


@dataclass(frozen=True)
class Image:
    """An image file and what is done to it, in this order: decoded to RGB as Pillow does, `resize`d by Pillow's
    antialiased bilinear filter to `size`, cropped to `crop`, divided by 255, less the mean, divided by the deviation;
    float32, channels first. `squish` gives up the aspect; `shorter` brings the shorter side to `size[0]`."""

    file: Path
    size: tuple
    resize: str = "squish"
    crop: tuple | None = None
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD

    def media_type(self):
        return "image/png" if self.file.suffix == ".png" else "image/jpeg"


@dataclass(frozen=True)
class Tensor:
    """Numbers in place of an image. `wire` is how they travel:

    json    in the JSON that the server's users would write
    bytes   little-endian float32, as the server takes them with the least around them; v2's binary form where there is one
    v2      Open Inference Protocol, version 2, binary form, and nothing else: a server that does not speak it cannot
    """

    shape: tuple
    wire: str = "json"
    seed: int = 1

    def values(self):
        """Whole 256ths from -1 to 1: exact in float32 and short in JSON. A fixed linear congruence, the same on every machine."""
        count, state, values = 1, self.seed, array.array("f")
        for side in self.shape:
            count *= side
        for _ in range(min(count, 4096)):
            state = (state * 1103515245 + 12345) % (1 << 31)
            values.append(((state >> 16) % 513 - 256) / 256)
        return (values * (count // len(values) + 1))[:count]

    def bytes(self):
        return self.values().tobytes()


@dataclass(frozen=True)
class Job:
    name: str
    title: str
    network: Network
    input: Image | Tensor
    answer: str  # numbers, classes or mask
    reply: str = "json"  # or png, of a mask
    batch: int = 1  # requests in a forward pass at most, for every server that batches
    delay: int = 1  # milliseconds that the oldest waits for others, where batch is above 1
    labels: tuple = ()
    tolerance: float = 1e-3  # of numbers and probabilities, relative to the largest
    agreement: float = 0.999  # of a mask's pixels
    top: int = 5
    quick: bool = False
    _kept: dict = field(default_factory=dict, compare=False, repr=False)

    def body(self):
        """The image file's bytes; of a tensor its JSON as a plain list, or its bytes."""
        if "body" not in self._kept:
            if isinstance(self.input, Image):
                self._kept["body"] = self.input.file.read_bytes()
            elif self.input.wire == "json":
                self._kept["body"] = json.dumps(self.nested()).encode()
            else:
                self._kept["body"] = self.input.bytes()
        return self._kept["body"]

    def nested(self):
        """A tensor's numbers as nested lists, without the batch's side."""
        values = list(self.input.values())
        for side in reversed(self.input.shape[1:]):
            values = [values[at : at + side] for at in range(0, len(values), side)]
        return values

    def is_image(self):
        return isinstance(self.input, Image)

    def made(self):
        """Files that bench/make.py has to make first."""
        files = [self.network.file(form) for form in FORMS] + ([self.input.file] if self.is_image() else [])
        return [file for file in [*files, self.expected_file()] if MADE in file.parents]

    def expected_file(self):
        """Where the right answer lies: computed once by bench/make.py, with PyTorch, Pillow and NumPy alone."""
        made = MADE in self.network.folder.parents or self.network.folder == MADE
        made = made or (self.is_image() and MADE in self.input.file.parents)
        return (MADE if made else MATERIAL) / f"{self.name}.expected.json"

    def spec(self, form):
        """All of it for a server's own process, as JSON: see `work.py`, which reads it."""
        spec = {
            "name": self.name, "form": form, "weights": str(self.network.file(form)), "input": self.network.input,
            "output": self.network.output, "shape": list(self.network.shape), "answer": self.answer, "reply": self.reply,
            "batch": self.batch, "delay": self.delay, "labels": list(self.labels), "top": self.top,
        }
        if self.is_image():
            image = self.input
            spec["image"] = {"size": image.size, "resize": image.resize, "crop": image.crop, "mean": image.mean, "std": image.std}
        else:
            spec["tensor"] = {"wire": self.input.wire, "shape": self.input.shape}
        return spec


LINEAR = Network("linear", MATERIAL, "input", (4,), "output")
POOLED = Network("pooled", MATERIAL, "input", (3, 96, 128), "output")
TABULAR = Network("tabular", MATERIAL, "input", (16,), "output")
AVERAGES = Network("averages", MATERIAL, "input", (10, 256, 1024), "output")
UNET = Network("fastunet", EXAMPLE, "image", (3, 96, 128), "scores", beside=("fastunet.pt",))
UNET_LARGE = Network("fastunet", EXAMPLE, "image", (3, 384, 512), "scores", beside=("fastunet.pt",))
RESNET = Network("resnet18", MADE, "input", (3, 224, 224), "output", argument="x")

SCENE = EXAMPLE / "sample/scene.png"
SMALL_SCENE = MATERIAL / "scene-256x192.png"
FULL_HD = MADE / "scene-1920x1080.jpg"

SMALL, LARGE = (96, 128), (384, 512)  # height, width

JOBS = [
    Job("empty-tensor", "near-empty network (4 numbers through one linear layer), JSON", LINEAR, Tensor((4,)), "numbers", quick=True),
    Job("empty-png", "near-empty network behind decoding and resizing a 256x192 PNG", POOLED, Image(SMALL_SCENE, SMALL), "numbers",
        quick=True),
    Job("unet-small", "U-Net at 96x128, 500x375 PNG in, mask as base64 out", UNET, Image(SCENE, SMALL), "mask", labels=LABELS,
        quick=True),
    Job("unet-small-jpeg", "U-Net at 96x128, 1080p JPEG in, mask as base64 out", UNET, Image(FULL_HD, SMALL), "mask", labels=LABELS),
    Job("unet-small-png", "U-Net at 96x128, 500x375 PNG in, mask as PNG out", UNET, Image(SCENE, SMALL), "mask", reply="png",
        labels=LABELS),
    Job("unet-large", "U-Net at 384x512, 500x375 PNG in, mask as base64 out", UNET_LARGE, Image(SCENE, LARGE), "mask", labels=LABELS),
    Job("unet-large-jpeg", "U-Net at 384x512, 1080p JPEG in, mask as PNG out", UNET_LARGE, Image(FULL_HD, LARGE), "mask", reply="png",
        labels=LABELS),
    Job("resnet18", "ResNet-18 at 224x224, 1080p JPEG in, five classes out", RESNET,
        Image(FULL_HD, (256, 256), "shorter", (224, 224)), "classes"),
    Job("tabular-json", "a network of three layers on 16 numbers, JSON", TABULAR, Tensor((16,)), "numbers"),
    Job("tabular-v2", "the same, v2 binary", TABULAR, Tensor((16,), "v2"), "numbers"),
    Job("tensor-10mb", "a tensor of 10 MiB, of which the network takes averages", AVERAGES, Tensor((10, 256, 1024), "bytes"), "numbers"),
]
