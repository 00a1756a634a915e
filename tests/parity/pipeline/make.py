"""Writes the golden files of this folder: what FastAI, torchvision and Pillow make of small images.

    python make.py            # writes into the folder of this script

Every row of the tables holds a `config`, the keys of a model's `handler:` section that must give the same, and what
the library itself gave, as a digest of its raw 8-bit pixels or as a file of numbers (`*.bin`, little-endian).
Every picture is computed, none is random between runs.
"""

import hashlib
import json
import math
from pathlib import Path

import fastai
import numpy as np
import PIL
import torch
import torchvision
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.vision.augment import CropPad, PadMode, RandomResizedCrop, Resize, ResizeMethod
from fastai.vision.core import PILImage, PILImageBW, TensorImage, image2tensor, imagenet_stats, mnist_stats
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

HERE = Path(__file__).parent
PIXELS = HERE.parent / "pixels"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SOURCES = [(67, 45), (45, 67), (40, 40), (53, 52), (100, 7), (3, 200), (1, 60), (60, 1), (131, 90)]


def noise(width, height):
    values = np.random.RandomState(width * 1000 + height).randint(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def formula(width, height):
    """The same arithmetic stands in the Rust test, so that large sides need no file."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 7 + y * 13 + c * 29 + ((x * y) >> 3)) & 255 for c in range(3)]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))


def name(width, height):
    return f"noise_{width}x{height}.png"


def digest(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def row(source, config, image):
    pixels = np.asarray(image)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    shape = [pixels.shape[0], pixels.shape[1], channels]
    return {"source": source, "config": config, "shape": shape, "sha256": digest(pixels)}


# --- pixels -----------------------------------------------------------------------------------------


def fastai_rows(source, gray):
    """Resize by its three methods, CropPad, and RandomResizedCrop as at validation."""
    open_as = PILImageBW if gray else PILImage
    image = open_as.create(HERE / source)
    colour = {"color_mode": "L"} if gray else {}
    cases = []
    for size in ([24, 24], [24, 40], [33, 17], [96, 128]):
        for method in (ResizeMethod.Squish, ResizeMethod.Crop):
            cases.append((Resize(tuple(size), method=method), {"size": size, "resize": str(method)}))
        for mode in (PadMode.Reflection, PadMode.Border, PadMode.Zeros):
            config = {"size": size, "resize": "pad", "pad_mode": str(mode)}
            cases.append((Resize(tuple(size), method=ResizeMethod.Pad, pad_mode=mode), config))
    for size in ([24, 24], [50, 41], [101, 78]):
        for mode in (PadMode.Reflection, PadMode.Border, PadMode.Zeros):
            config = {"center_crop": size, "crop_rounding": "fastai", "pad_mode": str(mode)}
            cases.append((CropPad(tuple(size), pad_mode=mode), config))
        cases.append((CropPad(tuple(size)), {"center_crop": size, "crop_rounding": "fastai"}))
    for size in ([56, 56], [33, 64], [224, 224]):
        more = math.ceil(max(size) * 0.14 / 8) * 8
        config = {"size": [size[0] + more, size[1] + more], "center_crop": size, "crop_rounding": "fastai"}
        cases.append((RandomResizedCrop(tuple(size)), config))
    rows = []
    for transform, config in cases:
        size = config.get("size")
        if config.get("resize") == "crop" and min(int(min(image.size[0] / size[1], image.size[1] / size[0]) * side) for side in size) < 1:
            continue  # FastAI's crop has no pixels, and Pillow makes black of it
        out = transform(image, split_idx=1)
        rows.append(row(source, config | colour, out))
    return rows


def torchvision_rows(source, gray):
    image = Image.open(HERE / source)
    colour = {"color_mode": "L"} if gray else {}
    image = image.convert("L") if gray else image
    cases = []
    for shorter in (9, 24, 25):
        shape = {"size": shorter, "resize": "shorter"}
        cases.append(([T.Resize(shorter)], shape))
        for longest in (shorter + 1, 30, 61):
            cases.append(([T.Resize(shorter, max_size=longest)], shape | {"max_size": longest}))
        for crop in ([24, 24], [20, 15], [50, 10], [33, 77]):
            cases.append(([T.Resize(shorter), T.CenterCrop(crop)], shape | {"center_crop": crop}))
    for crop in ([24, 24], [41, 50], [45, 44]):
        cases.append(([T.CenterCrop(crop)], {"center_crop": crop}))
    for mode in ("NEAREST", "BOX", "HAMMING", "BICUBIC", "LANCZOS"):
        resize = T.Resize([31, 37], interpolation=InterpolationMode[mode])
        cases.append(([resize], {"size": [31, 37], "resize": "exact", "filter": mode.lower()}))
    rows = []
    for steps, config in cases:
        try:
            out = T.Compose(steps)(image)
        except ValueError:
            continue  # torchvision itself cannot: a side of no pixels
        rows.append(row(source, config | colour, out))
    return rows


def tensor_resize_rows(source):
    """Resizes of 8-bit tensors without antialiasing."""
    tensor = F.pil_to_tensor(Image.open(HERE / source))
    rows = []
    for mode in ("nearest", "bilinear", "bicubic"):
        for size in ([45, 67], [24, 24], [22, 33], [15, 20], [90, 38], [96, 128], [224, 224], [135, 201], [1, 1], [7, 300]):
            out = F.resize(tensor, size, InterpolationMode[mode.upper()], antialias=False)
            rows.append(row(source, {"size": size, "filter": mode, "antialias": False}, out.permute(1, 2, 0).numpy()))
    return rows


def resize_rows():
    """Pillow's own resize, of gray levels and of very unequal sides."""
    rows = []
    for (width, height), sizes in {
        (67, 45): [(33, 29), (150, 101), (1, 1), (1, 90), (200, 5), (67, 20), (30, 45)],
        (1, 50): [(1, 20), (1, 99), (7, 50), (5, 5)],
        (50, 1): [(20, 1), (99, 1), (50, 7), (5, 5)],
        (5000, 3): [(224, 224), (3, 3), (5000, 1), (6000, 2)],
        (3, 5000): [(224, 224), (3, 3), (1, 5000), (2, 6000)],
    }.items():
        for channels, source in ((3, formula(width, height)), (1, formula(width, height).getchannel(0))):
            for size in sizes:
                for filter_name, value in FILTERS.items():
                    out = source.resize(size, value)
                    rows.append({"source": [width, height], "channels": channels, "filter": filter_name,
                                 "width": size[0], "height": size[1], "sha256": digest(np.asarray(out))})
    return rows


def gray_rows():
    """Pillow's own way from any mode to L."""
    rows = []
    for path in sorted(PIXELS.iterdir()):
        if path.suffix not in (".png", ".gif", ".bmp", ".tif", ".webp", ".jpg") or ".expected" in path.name:
            continue
        if path.name.startswith(("noise_", "source_")):
            continue
        with Image.open(path) as image:
            rows.append({"file": path.name, "mode": image.mode, "sha256": digest(np.asarray(image.convert("L")))})
    return rows


# --- numbers ----------------------------------------------------------------------------------------


def tensor_rows():
    source = name(67, 45)
    image = PILImage.create(HERE / source)
    plain = Image.open(HERE / source)
    rows = []

    def add(label, config, array):
        dtype = {"float32": "<f4", "float16": "<f2", "uint8": "u1"}[str(array.dtype)]
        (HERE / f"{label}.bin").write_bytes(np.ascontiguousarray(array).astype(dtype).tobytes())
        rows.append({"file": f"{label}.bin", "source": source, "config": config, "dtype": str(array.dtype), "shape": list(array.shape)})

    def fastai_batch(opened, transform, stats):
        out = TensorImage(image2tensor(transform(opened, split_idx=1)))[None]
        return Normalize.from_stats(*stats, cuda=False)(IntToFloatTensor()(out), split_idx=1)[0].numpy()

    add("fastai_pad", {"size": [20, 24], "resize": "pad"},
        fastai_batch(image, Resize((20, 24), method=ResizeMethod.Pad), imagenet_stats))
    add("fastai_random_resized_crop", {"size": [32, 32], "center_crop": 24, "crop_rounding": "fastai"},
        fastai_batch(image, RandomResizedCrop(24), imagenet_stats))
    add("fastai_mnist", {"color_mode": "L", "size": 20, "resize": "crop", "mean": 0.131, "std": [0.308]},
        fastai_batch(PILImageBW.create(HERE / source), Resize(20), mnist_stats))

    steps = [T.Resize(24), T.CenterCrop(20), T.ToTensor()]
    shape = {"size": 24, "resize": "shorter", "center_crop": 20}
    normalise = T.Normalize(*imagenet_stats)
    rgb = T.Compose([*steps, normalise])(plain)
    add("torchvision_imagenet", shape, rgb.numpy())
    add("torchvision_imagenet_hwc", shape | {"layout": "hwc"}, rgb.permute(1, 2, 0).numpy())
    add("torchvision_imagenet_half", shape | {"dtype": "float16"}, rgb.half().numpy())
    add("torchvision_imagenet_bgr", shape | {"channel_order": "bgr"}, rgb.flip(0).numpy())
    bgr = T.Compose([*steps, T.Lambda(lambda t: t.flip(0)), T.Normalize([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])])(plain)
    add("torchvision_bgr_moments", shape | {"channel_order": "bgr", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}, bgr.numpy())
    add("torchvision_to_tensor", shape | {"mean": 0, "std": 1}, T.Compose(steps)(plain).numpy())
    gray = T.Compose([T.Grayscale(), *steps])(plain)
    add("torchvision_gray", shape | {"color_mode": "l"}, gray.numpy())
    pixels = np.asarray(T.Compose(steps[:2])(plain))
    add("levels", shape | {"dtype": "uint8"}, pixels.transpose(2, 0, 1))
    add("levels_bgr_hwc", shape | {"dtype": "uint8", "layout": "hwc", "channel_order": "bgr"}, pixels[..., ::-1])

    planes = pixels.transpose(2, 0, 1).astype(np.float32)
    add("keras_mobilenet", shape | {"scale": "1/127.5", "mean": 1, "std": 1}, planes / np.float32(127.5) - np.float32(1))
    caffe = np.float32([103.939, 116.779, 123.68])
    add("keras_caffe", shape | {"scale": 1, "channel_order": "bgr", "mean": [103.939, 116.779, 123.68]},
        planes[::-1] - caffe[:, None, None])
    rescaled = (pixels.transpose(2, 0, 1).astype(np.float64) * 0.00392156862745098).astype(np.float32)
    add("transformers_rescale", shape | {"scale": 0.00392156862745098, "mean": 0, "std": 1}, rescaled)
    return rows


# --- the way back -----------------------------------------------------------------------------------


def restore_rows():
    """Where each pixel of the original finds itself in what the network saw, by Pillow's nearest resize.

    `source` and `window` are left, top, width, height; `scaled` is width, height. The plane counts its pixels from 0;
    -1 where the network did not look. The sizes are such that no pixel's centre falls between two pixels, where Pillow's
    running sum goes either way.
    """
    rows = []
    for original, source, scaled, window in [
        ((67, 45), (0, 0, 67, 45), (67, 45), (0, 0, 67, 45)),
        ((67, 45), (0, 0, 67, 45), (25, 41), (0, 0, 25, 41)),
        ((67, 45), (0, 0, 67, 45), (127, 95), (0, 0, 127, 95)),
        ((67, 45), (11, 0, 45, 45), (25, 25), (0, 0, 25, 25)),
        ((67, 45), (0, -11, 67, 67), (25, 25), (0, 0, 25, 25)),
        ((67, 45), (0, 0, 67, 45), (35, 25), (6, 2, 24, 20)),
        ((67, 45), (0, 0, 67, 45), (35, 25), (-7, -3, 50, 30)),
        ((3, 200), (-131, 0, 266, 200), (127, 97), (10, 8, 100, 77)),
    ]:
        plane = np.arange(window[2] * window[3], dtype=np.int32).reshape(window[3], window[2])
        canvas = Image.new("I", scaled, -1)
        canvas.paste(Image.fromarray(plane), (window[0], window[1]))
        part = canvas.resize(source[2:], Image.Resampling.NEAREST)
        back = Image.new("I", original, -1)
        back.paste(part, (source[0], source[1]))
        rows.append({"original": original, "source": source, "scaled": scaled, "window": window,
                     "sha256": digest(np.asarray(back).astype("<i4"))})
    return rows


def main():
    for size in SOURCES:
        noise(*size).save(HERE / name(*size), optimize=True)
    every = [name(*size) for size in SOURCES]
    golden = {
        "versions": {"pillow": PIL.__version__, "numpy": np.__version__, "fastai": fastai.__version__,
                     "torch": torch.__version__, "torchvision": torchvision.__version__},
        "fastai": [r for source in every for r in fastai_rows(source, False)]
        + [r for source in (name(67, 45), name(3, 200)) for r in fastai_rows(source, True)],
        "torchvision": [r for source in every for r in torchvision_rows(source, False)]
        + [r for source in (name(53, 52), name(100, 7)) for r in torchvision_rows(source, True)],
        "tensor_resize": [r for source in every for r in tensor_resize_rows(source)],
        "resize": resize_rows(),
        "gray": gray_rows(),
        "tensors": tensor_rows(),
        "restore": restore_rows(),
    }
    rows = ",\n".join(
        json.dumps(key) + ": " + (json.dumps(value) if isinstance(value, dict) else "[\n" + ",\n".join(map(json.dumps, value)) + "\n]")
        for key, value in golden.items()
    )
    (HERE / "golden.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main()
