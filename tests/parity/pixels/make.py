"""Writes the golden files of this folder: what Pillow, FastAI and torchvision make of small images.

    python make.py            # writes into the folder of this script

Every picture is computed, none is random between runs, so the same library versions write the same bytes
(the versions used are the first entry of golden.json). Tests compare digests of raw RGB pixels.
"""

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import fastai
import numpy as np
import PIL
import torch
import torchvision
from fastai.vision.augment import Resize, ResizeMethod
from fastai.vision.core import PILImage, TensorImage, image2tensor, imagenet_stats
from fastai.data.transforms import IntToFloatTensor, Normalize
from PIL import Image
from torchvision import transforms as T

HERE = Path(__file__).parent
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def scene(width, height):
    """Smooth ground with hard edges, roughly what a photograph asks of a filter."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    r = 128 + 100 * np.sin(x / 7.0) + 20 * np.cos(y / 3.0)
    g = 255 * x / max(width - 1, 1)
    b = 255 * y / max(height - 1, 1)
    image = np.stack([r, g, b], axis=2)
    disc = (x - width * 0.6) ** 2 + (y - height * 0.4) ** 2 < (min(width, height) * 0.25) ** 2
    image[disc] = (250, 20, 30)
    image[(x.astype(int) + y.astype(int)) % 9 == 0] = (10, 240, 200)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def noise(width, height, seed):
    values = np.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def formula(width, height):
    """The same arithmetic stands in the Rust test, so that a full-HD case needs no file."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 7 + y * 13 + c * 29 + ((x * y) >> 3)) & 255 for c in range(3)]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))


def digest(image):
    assert image.mode == "RGB", image.mode
    return hashlib.sha256(image.tobytes()).hexdigest()


def encoded(image, fmt, **options):
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


# --- files that Pillow cannot write ----------------------------------------------------------------


def png_file(width, height, depth, colour, rows, extra=(), interlaced=False):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    for kind, data in extra:
        body += chunk(kind, data)
    return body + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def packed(samples, depth):
    """Rows of `depth`-bit samples, filter type 0, most significant bit first."""
    out = b""
    for row in samples:
        bits = "".join(format(int(v), f"0{depth}b") for v in row)
        bits += "0" * (-len(bits) % 8)
        out += b"\0" + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    return out


def adam7(pixels):
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    out = b""
    for x0, y0, dx, dy in passes:
        part = pixels[y0::dy, x0::dx]
        if part.size:
            out += b"".join(b"\0" + row.tobytes() for row in part)
    return out


def wide(image, channels):
    """16-bit big-endian samples whose low bytes are not a copy of the high ones."""
    values = np.asarray(image).astype(np.uint16)
    values = values * 256 + (values * 37 + 11) % 256
    if channels in (2, 4):
        values = np.concatenate([values[..., : channels - 1], values[..., :1]], axis=2)
    else:
        values = values[..., :channels]
    rows = values.astype(">u2")
    return b"".join(b"\0" + row.tobytes() for row in rows)


def bmp_file(width, height, bits, compression, pixels, palette=b"", masks=b""):
    offset = 14 + 40 + len(masks) + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 2835, 2835, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + info + masks + palette + pixels


def bmp16(image, green_bits):
    a = np.asarray(image).astype(np.uint16)
    shift = 8 - green_bits
    value = ((a[..., 0] >> 3) << (5 + green_bits)) | ((a[..., 1] >> shift) << 5) | (a[..., 2] >> 3)
    rows = b""
    for row in value[::-1]:
        raw = row.astype("<u2").tobytes()
        rows += raw + b"\0" * (-len(raw) % 4)
    return rows


def rle8(index):
    out = b""
    for row in index[::-1]:
        x = 0
        while x < len(row):
            run = 1
            while x + run < len(row) and run < 255 and row[x + run] == row[x]:
                run += 1
            out += bytes([run, row[x]])
            x += run
        out += b"\0\0"
    return out + b"\0\1"


def tiff(width, height, bits, photometric, data, order="<", extra=()):
    """One uncompressed strip."""
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, bits), 259: (3, [1]), 262: (3, [photometric]),
            273: (4, [None]), 277: (3, [len(bits)]), 278: (4, [height]), 279: (4, [len(data)])}
    tags.update(extra)
    head = 8 + 2 + 12 * len(tags) + 4
    long_values = b""
    layout = {}
    for tag in sorted(tags):
        kind, values = tags[tag]
        width_of = {3: 2, 4: 4}[kind]
        if len(values) * width_of > 4:
            layout[tag] = head + len(long_values)
            long_values += b"".join(struct.pack(order + {3: "H", 4: "I"}[kind], v) for v in values)
    strip = head + len(long_values)
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + struct.pack(order + "H", len(tags))
    for tag in sorted(tags):
        kind, values = tags[tag]
        values = [strip if v is None else v for v in values]
        out += struct.pack(order + "HHI", tag, kind, len(values))
        if tag in layout:
            out += struct.pack(order + "I", layout[tag])
        else:
            body = b"".join(struct.pack(order + {3: "H", 4: "I"}[kind], v) for v in values)
            out += body + b"\0" * (4 - len(body))
    return out + struct.pack(order + "I", 0) + long_values + data


# --- the tables -------------------------------------------------------------------------------------


def decode_files():
    """name -> bytes"""
    w, h = 37, 29
    rgb = scene(w, h)
    gray = rgb.convert("L")
    alpha = Image.fromarray((np.mgrid[0:h, 0:w][1] * 255 // (w - 1)).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    la = Image.merge("LA", (gray, alpha))
    palette = rgb.quantize(32)
    bilevel = gray.convert("1")
    index = np.asarray(palette)
    plte = bytes(palette.getpalette()[: 3 * 32])
    cmyk = Image.merge("CMYK", (*rgb.split(), alpha))
    i16 = Image.fromarray((np.asarray(gray).astype(np.uint16) * 5))
    frames = [scene(w, h).quantize(16), noise(w, h, 5).quantize(16)]
    a = np.asarray(rgb)
    files = {}

    def add(name, data):
        files[name] = data

    add("1.png", encoded(bilevel, "PNG"))
    add("l.png", encoded(gray, "PNG"))
    add("l_transparent.png", encoded(gray, "PNG", transparency=100))
    add("la.png", encoded(la, "PNG"))
    add("p.png", encoded(palette, "PNG"))
    add("p_transparent.png", encoded(palette, "PNG", transparency=bytes(range(0, 256, 8))))
    for bits in (1, 2, 4):
        add(f"p_{bits}bit.png", encoded(rgb.quantize(2**bits), "PNG", bits=bits))
    add("rgb.png", encoded(rgb, "PNG"))
    add("rgb_transparent.png", encoded(rgb, "PNG", transparency=(10, 240, 200)))
    add("rgba.png", encoded(rgba, "PNG"))
    add("i16.png", encoded(i16, "PNG"))
    for bits in (2, 4):
        add(f"l_{bits}bit.png", png_file(w, h, bits, 0, packed(np.asarray(gray) >> (8 - bits), bits)))
    add("la16.png", png_file(w, h, 16, 4, wide(rgb, 2)))
    add("rgb16.png", png_file(w, h, 16, 2, wide(rgb, 3)))
    add("rgba16.png", png_file(w, h, 16, 6, wide(rgb, 4)))
    add("interlaced.png", png_file(w, h, 8, 2, adam7(a), interlaced=True))
    add("p_short_palette.png", png_file(w, h, 8, 3, packed(index, 8), [(b"PLTE", plte[:30])]))
    add("1x1.png", encoded(rgb.crop((3, 3, 4, 4)), "PNG"))

    for name, options in {
        "444": dict(subsampling=0), "422": dict(subsampling=1), "420": dict(subsampling=2),
        "progressive": dict(subsampling=2, progressive=True), "restart": dict(subsampling=2, restart_marker_blocks=2),
    }.items():
        add(f"{name}.jpg", encoded(rgb, "JPEG", quality=90, **options))
    exif = Image.Exif()
    exif[0x0112] = 6
    add("orientation6.jpg", encoded(rgb, "JPEG", quality=90, exif=exif))
    add("gray.jpg", encoded(gray, "JPEG", quality=90))
    add("cmyk.jpg", encoded(cmyk, "JPEG", quality=90))
    add("rgb_colours.jpg", encoded(rgb, "JPEG", quality=90, keep_rgb=True))
    add("1x1.jpg", encoded(rgb.crop((3, 3, 4, 4)), "JPEG", quality=90))
    smooth = scene(40, 30).resize((160, 120), Image.Resampling.BICUBIC)
    add("photo.jpg", encoded(smooth, "JPEG", quality=85, subsampling=2))
    add("edges.jpg", encoded(scene(160, 120), "JPEG", quality=85, subsampling=2))

    add("lossy.webp", encoded(rgb, "WEBP", quality=80))
    add("lossy_rgba.webp", encoded(rgba, "WEBP", quality=80))
    add("lossless.webp", encoded(rgb, "WEBP", lossless=True))
    add("lossless_rgba.webp", encoded(rgba, "WEBP", lossless=True, exact=True))
    add("animated.webp", encoded(frames[0].convert("RGB"), "WEBP", lossless=True, save_all=True,
                                 append_images=[frames[1].convert("RGB")]))

    add("1.bmp", encoded(bilevel, "BMP"))
    add("l.bmp", encoded(gray, "BMP"))
    add("p.bmp", encoded(palette, "BMP"))
    add("rgb.bmp", encoded(rgb, "BMP"))
    add("rgba.bmp", encoded(rgba, "BMP"))
    add("rgb555.bmp", bmp_file(w, h, 16, 0, bmp16(rgb, 5)))
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    add("rgb565.bmp", bmp_file(w, h, 16, 3, bmp16(rgb, 6), masks=masks))
    quads = b"".join(plte[i : i + 3][::-1] + b"\0" for i in range(0, len(plte), 3))
    add("rle8.bmp", bmp_file(w, h, 8, 1, rle8(index), palette=quads))
    rows = b"".join(row[:, ::-1].tobytes() + b"\0" * (-3 * w % 4) for row in a)
    add("topdown.bmp", bmp_file(w, -h, 24, 0, rows))

    add("p.gif", encoded(palette, "GIF"))
    add("l.gif", encoded(gray, "GIF"))
    add("interlaced.gif", encoded(palette, "GIF", interlace=True))
    add("p_transparent.gif", encoded(palette, "GIF", transparency=3))
    add("animated.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    add("photo.gif", encoded(scene(160, 120).quantize(16), "GIF"))
    plain = encoded(palette, "GIF", interlace=False)
    add("frame_inside.gif", plain[:6] + struct.pack("<HH", w + 9, h + 5) + plain[10:])
    add("frame_outside.gif", plain[:6] + struct.pack("<HH", w - 9, h - 5) + plain[10:])

    for name, compression in {"raw": "raw", "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate", "packbits": "packbits"}.items():
        add(f"rgb_{name}.tif", encoded(rgb, "TIFF", compression=compression))
    add("jpeg.tif", encoded(rgb, "TIFF", compression="jpeg", quality=90))
    add("lzw_predictor.tif", encoded(rgb, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}))
    add("1.tif", encoded(bilevel, "TIFF"))
    add("group4.tif", encoded(bilevel, "TIFF", compression="group4"))
    add("l.tif", encoded(gray, "TIFF"))
    add("la.tif", encoded(la, "TIFF"))
    add("p.tif", encoded(palette, "TIFF"))
    add("rgba.tif", encoded(rgba, "TIFF"))
    add("i16.tif", encoded(i16, "TIFF"))
    add("cmyk.tif", encoded(cmyk, "TIFF"))
    add("orientation6.tif", encoded(rgb, "TIFF", tiffinfo={274: 6}))
    add("orientation7.tif", encoded(rgb, "TIFF", tiffinfo={274: 7}))
    samples = np.asarray(rgb).astype(np.uint16) * 256 + 77
    add("rgb16.tif", tiff(w, h, [16] * 3, 2, samples.astype("<u2").tobytes()))
    add("rgb16_big_endian.tif", tiff(w, h, [16] * 3, 2, samples.astype(">u2").tobytes(), order=">"))
    add("white_is_zero.tif", tiff(w, h, [8], 0, np.asarray(gray).tobytes()))
    add("premultiplied.tif", tiff(w, h, [8] * 4, 2, rgba.convert("RGBa").tobytes(), extra={338: (3, [1])}))
    return files


def decode_table():
    table = []
    for name, data in decode_files().items():
        (HERE / name).write_bytes(data)
        with Image.open(io.BytesIO(data)) as opened:
            mode = opened.mode
            expected = opened.convert("RGB")
        table.append({"file": name, "mode": mode, "width": expected.width, "height": expected.height, "sha256": digest(expected)})
    return table


SIZES = [(150, 101), (17, 11), (33, 29), (67, 20), (30, 45), (1, 1), (1, 90), (200, 5), (68, 46), (66, 44), (67, 45), (134, 90),
         (60, 20), (56, 23)]


def resize_table(sources):
    table = []
    for name, image in sources.items():
        sizes = SIZES if name != "formula" else [(224, 224), (455, 256), (2000, 1100)]
        for width, height in sizes:
            for filter_name, value in FILTERS.items():
                if name == "formula" and width == 2000 and filter_name not in ("nearest", "bicubic"):
                    continue
                resized = image.resize((width, height), value)
                table.append({"source": name, "filter": filter_name, "width": width, "height": height, "sha256": digest(resized)})
    for name in ("scene", "noise"):
        for filter_name, value in (("bilinear", FILTERS["bilinear"]), ("lanczos", FILTERS["lanczos"])):
            sources[name].resize((33, 29), value).save(HERE / f"{name}_33x29_{filter_name}.expected.png", optimize=True)
    return table


ASPECTS = [(67, 45), (45, 67), (40, 40), (100, 7), (7, 100), (53, 52), (31, 97), (3, 200)]


def fastai_table():
    table = []
    for width, height in ASPECTS:
        source = noise(width, height, width * 1000 + height)
        source.save(HERE / f"noise_{width}x{height}.png", optimize=True)
        image = PILImage.create(source)
        for size in ([24, 24], [24, 40], [33, 17], [96, 128]):
            for method in (ResizeMethod.Squish, ResizeMethod.Crop):
                try:
                    out = Resize(tuple(size), method=method)(image, split_idx=1)
                    sha = digest(out)
                    assert out.size == (size[1], size[0])
                except (ValueError, AssertionError):
                    sha = None  # FastAI itself cannot: the crop is zero pixels wide
                table.append({"source": [width, height], "size": size, "method": str(method), "sha256": sha})
    return table


def torchvision_table():
    table = []
    for width, height in ASPECTS:
        image = noise(width, height, width * 1000 + height)
        for shorter, crop in ((24, [24, 24]), (25, [20, 15]), (9, None), (16, [50, 10]), (40, [33, 77])):
            steps = [T.Resize(shorter)] + ([T.CenterCrop(crop)] if crop else [])
            out = T.Compose(steps)(image)
            table.append({"source": [width, height], "shorter": shorter, "crop": crop, "width": out.width, "height": out.height, "sha256": digest(out)})
    return table


def tensor_table():
    image = PILImage.create(HERE / "source_scene.png")
    table = []
    for size, method in (([24, 40], ResizeMethod.Squish), ([33, 17], ResizeMethod.Crop)):
        out = TensorImage(image2tensor(Resize(tuple(size), method=method)(image, split_idx=1)))[None]
        out = Normalize.from_stats(*imagenet_stats, cuda=False)(IntToFloatTensor()(out), split_idx=1)
        name = f"tensor_{method}_{size[0]}x{size[1]}.f32"
        (HERE / name).write_bytes(out[0].numpy().astype("<f4").tobytes())
        table.append({"file": name, "method": str(method), "size": size})
    return table


def cut_table(files):
    """Which prefixes of a file Pillow itself accepts."""
    table = []
    for name in ("rgb.png", "interlaced.png", "420.jpg", "progressive.jpg", "restart.jpg", "lossy.webp", "lossless.webp", "rgb.bmp",
                 "rle8.bmp", "p.bmp", "p.gif", "animated.gif", "rgb_raw.tif", "rgb_lzw.tif", "rgb_deflate.tif", "rgb_packbits.tif", "jpeg.tif"):
        data = files[name]
        cuts = {round(i * len(data) / 50) for i in range(50)} | {len(data) - n for n in range(1, 21)}
        accepted = []
        for cut in sorted(c for c in cuts if c >= 0):
            try:
                with Image.open(io.BytesIO(data[:cut])) as opened:
                    accepted.append([cut, digest(opened.convert("RGB"))])
            except Exception:  # whatever Pillow's plugins raise is a refusal
                continue
        table.append({"file": name, "cuts": sorted(cuts), "accepted": accepted})
    return table


def main():
    sources = {"scene": scene(67, 45), "noise": noise(67, 45, 1)}
    for name, image in sources.items():
        image.save(HERE / f"source_{name}.png", optimize=True)
    files = decode_files()
    golden = {
        "versions": {"pillow": PIL.__version__, "libjpeg": PIL.features.version("jpg"), "libwebp": PIL.features.version("webp"),
                     "libtiff": PIL.features.version("libtiff"), "fastai": fastai.__version__,
                     "torch": torch.__version__, "torchvision": torchvision.__version__},
        "decode": decode_table(),
        "resize": resize_table({**sources, "formula": formula(1920, 1080)}),
        "fastai": fastai_table(),
        "torchvision": torchvision_table(),
        "tensors": tensor_table(),
        "cuts": cut_table(files),
    }
    rows = ",\n".join(
        json.dumps(key) + ": " + (json.dumps(value) if isinstance(value, dict) else "[\n" + ",\n".join(map(json.dumps, value)) + "\n]")
        for key, value in golden.items()
    )
    (HERE / "golden.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main()
