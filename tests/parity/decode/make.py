"""Writes the files of this folder: variants of the image formats, and what Pillow makes of them.

    python make.py            # writes into the folder of this script

The table is `golden.json`: for each file the digest of `Image.open(f).convert("RGB")`, or that Pillow refuses it, and the
digest of `ImageOps.exif_transpose(Image.open(f)).convert("RGB")` where that is another. `jpegs.py` and `tiffs.py` make what
Pillow cannot write.
"""

import base64
import hashlib
import importlib.util
import io
import json
import struct
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngInfo

from jpegs import JFIF, adobe, jpeg, segment
from tiffs import packed, tiff

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("pixels", HERE.parent / "pixels/make.py")
pixels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pixels)
scene, noise, encoded, png_file, adam7, bmp_file, digest = (
    pixels.scene, pixels.noise, pixels.encoded, pixels.png_file, pixels.adam7, pixels.bmp_file, pixels.digest)

# Written once by libjpeg-turbo's arithmetic coder (sequential, progressive), which Pillow's encoder does not offer.
ARITHMETIC = json.loads((HERE / "arithmetic.json").read_text())

XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'


def jpegs():
    files = {}
    layouts = {
        "440": [(1, 2), (1, 1), (1, 1)], "411": [(4, 1), (1, 1), (1, 1)], "441": [(1, 4), (1, 1), (1, 1)],
        "410": [(4, 2), (1, 1), (1, 1)], "420": [(2, 2), (1, 1), (1, 1)], "422": [(2, 1), (1, 1), (1, 1)],
        "chroma_differs": [(2, 2), (2, 1), (1, 2)], "gray_2x2": [(2, 2)],
    }
    for name, factors in layouts.items():
        files[f"{name}.jpg"] = jpeg(45, 37, factors)
        files[f"{name}_scans.jpg"] = jpeg(45, 37, factors, interleaved=False)
        files[f"{name}_restart.jpg"] = jpeg(45, 37, factors, restart=3)
    plain = [(1, 1)] * 3
    files["rgb_names.jpg"] = jpeg(33, 17, plain, names=b"RGB", head=b"")
    files["rgb_adobe.jpg"] = jpeg(33, 17, plain, head=adobe(0))
    files["ycc_adobe.jpg"] = jpeg(33, 17, [(2, 2), (1, 1), (1, 1)], head=adobe(1))
    files["ycc_odd_names.jpg"] = jpeg(33, 17, plain, names=b"abc", head=b"")
    files["jfif_and_adobe.jpg"] = jpeg(33, 17, plain, head=JFIF + adobe(0))
    files["cmyk_plain.jpg"] = jpeg(33, 17, [(1, 1)] * 4, head=b"")
    files["cmyk_adobe.jpg"] = jpeg(33, 17, [(1, 1)] * 4, head=adobe(0))
    files["ycck.jpg"] = jpeg(33, 17, [(1, 1)] * 4, head=adobe(2))
    files["ycck_420.jpg"] = jpeg(33, 17, [(2, 2), (1, 1), (1, 1), (2, 2)], head=adobe(2))
    files["two_components.jpg"] = jpeg(33, 17, [(1, 1)] * 2)
    files["no_huffman_tables.jpg"] = jpeg(33, 17, [(2, 1), (1, 1), (1, 1)], tables=False)
    files["wide_quantisation.jpg"] = jpeg(33, 17, [(2, 1), (1, 1), (1, 1)], wide=True)

    for width, height in ((1, 1), (2, 1), (1, 2), (7, 9), (17, 16), (5000, 3), (3, 5000)):
        image = scene(width, height)
        for subsampling in (0, 1, 2):
            for progressive in (False, True):
                name = f"{width}x{height}_{subsampling}{'_progressive' if progressive else ''}.jpg"
                files[name] = encoded(image, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
    image = noise(40, 30, 3)
    files["noise_q5.jpg"] = encoded(image, "JPEG", quality=5, subsampling=2)
    files["noise_q100.jpg"] = encoded(image, "JPEG", quality=100, subsampling=2)
    files["gray_progressive.jpg"] = encoded(image.convert("L"), "JPEG", quality=70, progressive=True)
    cmyk = Image.merge("CMYK", (*image.split(), image.convert("L")))
    files["cmyk_progressive.jpg"] = encoded(cmyk, "JPEG", quality=70, progressive=True)
    for name, text in ARITHMETIC.items():
        files[name] = base64.b64decode(text)

    # What is not in order, and accepted all the same, or not.
    base = encoded(scene(60, 50), "JPEG", quality=75, subsampling=2)
    many = encoded(scene(60, 50), "JPEG", quality=75, subsampling=2, progressive=True)
    files["bytes_after_the_end.jpg"] = base + b"trailing \xff\xd8 rubbish"
    files["bytes_before_the_end.jpg"] = base[:-2] + b"rubbish" + base[-2:]
    at = base.index(b"\xff\xdb")
    files["bytes_between_segments.jpg"] = base[:at] + b"\0\1\2\3" + base[at:]
    files["fill_bytes.jpg"] = base[:at] + b"\xff\xff\xff" + base[at:]
    files["comment_and_markers.jpg"] = base[:2] + segment(0xFE, b"hello") + segment(0xEF, b"x" * 300) + base[2:]
    for lost in (3, 40, 300):
        files[f"data_ends_{lost}_early.jpg"] = base[: -2 - lost] + b"\xff\xd9"
        files[f"data_ends_{lost}_early_progressive.jpg"] = many[: -2 - lost] + b"\xff\xd9"
    files["scans_missing.jpg"] = many[: many.rindex(b"\xff\xda")] + b"\xff\xd9"
    files["no_end.jpg"] = base[:-2]
    scan = base.index(b"\xff\xda")
    files["odd_scan_parameters.jpg"] = base[: scan + 11] + b"\0\0\0" + base[scan + 14 :]
    files["twelve_bits.jpg"] = base.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c")
    return files


def pngs():
    files = {}
    w, h = 21, 13
    rgb = np.asarray(scene(w, h))
    gray = np.asarray(scene(w, h).convert("L"))
    wide = gray.astype(np.uint16) * 7
    files["l16_transparent.png"] = png_file(w, h, 16, 0, rows16(wide[..., None]), [(b"tRNS", struct.pack(">H", 700))])
    values = rgb.astype(np.uint16) * 256 + rgb[..., ::-1]
    files["rgb16_transparent.png"] = png_file(w, h, 16, 2, rows16(values), [(b"tRNS", struct.pack(">HHH", 1, 2, 3))])
    files["rgb16_interlaced.png"] = png_file(w, h, 16, 2, adam7(values.astype(">u2")), interlaced=True)
    files["l16_interlaced.png"] = png_file(w, h, 16, 0, adam7(wide.astype(">u2")[..., None]), interlaced=True)
    alpha = np.concatenate([rgb, gray[..., None]], axis=2)
    files["rgba_interlaced.png"] = png_file(w, h, 8, 6, adam7(alpha), interlaced=True)
    for bits in (1, 2, 4):
        files[f"l_{bits}bit_interlaced.png"] = png_file(w, h, bits, 0, adam7_packed(gray >> (8 - bits), bits), interlaced=True)
        palette = bytes(range(0, 3 * 2**bits))
        files[f"p_{bits}bit_interlaced.png"] = png_file(
            w, h, bits, 3, adam7_packed(gray >> (8 - bits), bits), [(b"PLTE", palette), (b"tRNS", b"\0\x80")], interlaced=True)
    extra = [(b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0"), (b"bKGD", struct.pack(">HHH", 1, 2, 3)), (b"tEXt", b"a\0b")]
    files["ancillary.png"] = png_file(w, h, 8, 2, filtered(rgb), extra)
    files["1x5000.png"] = encoded(scene(1, 5000), "PNG")
    files["apng.png"] = encoded(scene(w, h), "PNG", save_all=True, append_images=[noise(w, h, 1)], duration=50)
    files["l_transparent_1bit.png"] = png_file(w, h, 1, 0, pixels.packed(gray >> 7, 1), [(b"tRNS", b"\0\1")])
    return files


def rows16(values):
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)


def adam7_packed(samples, bits):
    out = b""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = samples[y0::dy, x0::dx]
        if part.size:
            out += pixels.packed(part, bits)
    return out


def filtered(image):
    """Each of the five filters in turn."""
    out, before = b"", np.zeros(image.shape[1] * 3, int)
    for number, row in enumerate(image.reshape(image.shape[0], -1).astype(int)):
        left = np.concatenate([[0] * 3, row[:-3]])
        corner = np.concatenate([[0] * 3, before[:-3]])
        estimate = left + before - corner
        near = [np.abs(estimate - v) for v in (left, before, corner)]
        paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], before, corner))
        predicted = [0 * row, left, before, (left + before) // 2, paeth][number % 5]
        out += bytes([number % 5]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
        before = row
    return out


def webps():
    files = {}
    for width, height in ((1, 1), (17, 9), (64, 64), (3, 300)):
        for quality in (5, 95):
            files[f"{width}x{height}_{quality}.webp"] = encoded(scene(width, height), "WEBP", quality=quality)
    image = scene(50, 40).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.arange(50, dtype=np.uint8) * 5, (40, 1))))
    files["alpha_lossy.webp"] = encoded(image, "WEBP", quality=60, alpha_quality=30)
    files["alpha_lossless.webp"] = encoded(image, "WEBP", lossless=True)
    files["palette.webp"] = encoded(scene(50, 40).quantize(7).convert("RGB"), "WEBP", lossless=True)
    moved = image.copy()
    moved.paste((255, 0, 0, 255), (20, 10, 30, 20))
    options = dict(save_all=True, append_images=[moved], duration=40)
    files["animated_lossy.webp"] = encoded(image, "WEBP", quality=50, **options)
    files["animated_alpha.webp"] = encoded(image, "WEBP", lossless=True, background=(9, 8, 7, 255), **options)
    files["noise.webp"] = encoded(noise(33, 31, 8), "WEBP", quality=75, method=6)
    return files


def bmps():
    files = {}
    w, h = 21, 13
    rgb = np.asarray(scene(w, h))
    index = np.asarray(scene(w, h).quantize(16))
    colours = scene(w, h).quantize(16).getpalette()[:48]
    quads = b"".join(bytes(colours[i : i + 3])[::-1] + b"\0" for i in range(0, 48, 3))

    def rows(values, bits):
        body = b""
        for row in values[::-1]:
            raw = packed(row[None, :, None], bits)
            body += raw + b"\0" * (-len(raw) % 4)
        return body

    files["p_4bit.bmp"] = bmp_file(w, h, 4, 0, rows(index, 4), palette=quads)
    files["p_1bit.bmp"] = bmp_file(w, h, 1, 0, rows(index & 1, 1), palette=quads[:8])
    files["p_8bit_few_colours.bmp"] = bmp_file(w, h, 8, 0, rows(index, 8), palette=quads)
    grays = b"".join(bytes([v, v, v, 0]) for v in range(256))
    files["gray_palette.bmp"] = bmp_file(w, h, 8, 0, rows(rgb[..., 0], 8), palette=grays)
    os2 = struct.pack("<IHHHH", 12, w, h, 1, 24)
    body = b"".join(row[:, ::-1].tobytes() + b"\0" * (-3 * w % 4) for row in rgb[::-1])
    files["os2.bmp"] = b"BM" + struct.pack("<IHHI", 26 + len(body), 0, 0, 26) + os2 + body
    small = struct.pack("<IHHHH", 12, w, h, 1, 4)
    triples = b"".join(bytes(colours[i : i + 3])[::-1] for i in range(0, 48, 3))
    body = rows(index, 4)
    files["os2_palette.bmp"] = b"BM" + struct.pack("<IHHI", 26 + 48 + len(body), 0, 0, 26 + 48) + small + triples + body
    four = np.concatenate([rgb[..., ::-1], np.full((h, w, 1), 77, np.uint8)], axis=2)[::-1]
    files["rgb32.bmp"] = bmp_file(w, h, 32, 0, four.tobytes())
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    files["rgb32_fields.bmp"] = bmp_file(w, h, 32, 3, four.tobytes(), masks=masks)
    files["rgb32_other_order.bmp"] = bmp_file(w, h, 32, 3, four.tobytes(), masks=struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00))
    masks = struct.pack("<III", 0x7C00, 0x3E0, 0x1F)
    files["rgb555_fields.bmp"] = bmp_file(w, h, 16, 3, pixels.bmp16(scene(w, h), 5), masks=masks)
    for size, name in ((108, "v4"), (124, "v5")):
        info = struct.pack("<IiiHHIIiiII", size, w, h, 1, 32, 3, len(four.tobytes()), 2835, 2835, 0, 0)
        info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"\0" * (size - 56)
        files[f"{name}_alpha.bmp"] = b"BM" + struct.pack("<IHHI", 14 + size + four.size, 0, 0, 14 + size) + info + four.tobytes()
    runs = b"".join(b"".join(bytes([1, int(v) << 4]) for v in row) + b"\0\0" for row in index[::-1])
    files["rle4.bmp"] = bmp_file(w, h, 4, 2, runs + b"\0\1", palette=quads)
    literal = b"".join(bytes([0, w]) + row.tobytes() + b"\0" * (w % 2) + b"\0\0" for row in index[::-1].astype(np.uint8))
    files["rle8_literal.bmp"] = bmp_file(w, h, 8, 1, literal + b"\0\1", palette=quads)
    jump = bytes([5, 3, 0, 2, 4, 2, 6, 1, 0, 1])
    files["rle8_ends_early.bmp"] = bmp_file(w, h, 8, 1, jump, palette=quads)
    jump = jump[:-2] + b"\0\0" + bytes([w, 4, 0, 0]) * 10 + b"\0\1"
    files["rle8_jump.bmp"] = bmp_file(w, h, 8, 1, jump, palette=quads)
    return files


def gifs():
    files = {}
    image = scene(40, 30)
    for colours in (2, 3, 17, 256):
        files[f"{colours}_colours.gif"] = encoded(image.quantize(colours), "GIF")
    files["1x1.gif"] = encoded(image.crop((0, 0, 1, 1)).quantize(2), "GIF")
    files["comment.gif"] = encoded(image.quantize(16), "GIF", comment=b"hello")
    plain = encoded(image.quantize(16), "GIF", interlace=False)
    files["87a.gif"] = b"GIF87a" + plain[6:]
    # One frame of 8x4 with colours of its own, at 5, 7 of a screen of 20x15 that has colours too, transparent ones.
    index = np.asarray(scene(8, 4).quantize(8))
    local = bytes(scene(8, 4).quantize(8).getpalette()[:24]).ljust(24, b"\0")
    body = lzw(index)
    for name, transparent in (("local_colours", None), ("local_colours_transparent", 3)):
        control = b"" if transparent is None else b"!\xf9\4\1\0\0" + bytes([transparent]) + b"\0"
        screen = b"GIF89a" + struct.pack("<HHBBB", 20, 15, 0xF2, 5, 0) + bytes(range(100, 124))
        frame = b"," + struct.pack("<HHHHB", 5, 7, 8, 4, 0x82) + local
        files[f"{name}.gif"] = screen + control + frame + body + b";"
    return files


def lzw(index):
    """Eight colours without compression: the table is cleared before its codes grow to five bits."""
    value, count, out = 0, 0, b""
    for number, sample in enumerate(index.flatten()):
        for code in ([8] if number % 6 == 0 else []) + [int(sample)]:
            value |= code << count
            count += 4
    value |= 9 << count
    count += 4
    data = value.to_bytes(-(-count // 8), "little")
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    return b"\3" + blocks + b"\0"


def tiffs():
    files = {}
    w, h = 37, 29
    rgb = np.asarray(scene(w, h))
    gray = np.asarray(scene(w, h).convert("L"))[..., None]
    four = np.concatenate([rgb, gray], axis=2)
    index = np.asarray(scene(w, h).quantize(16))[..., None]
    table = np.arange(3 * 256) * 85 % 65536

    def colours(bits):
        return {320: (3, [int(v) for v in table[: 3 * 2**bits]])}

    for order, name in (("<", "ii"), (">", "mm")):
        for compress in ("raw", "deflate"):
            add = lambda kind, *args, **options: files.__setitem__(f"{kind}_{compress}_{name}.tif", tiff(*args, order=order, compress=compress, **options))
            add("tiled", rgb, 2, tile=16)
            add("strips", rgb, 2, rows=5)
            add("planar", rgb, 2, planar=True, rows=7)
            add("planar_tiled", four, 2, planar=True, tile=16, tags={338: (3, [2])})
            add("palette", index, 3, tags=colours(8))
            add("l16", gray.astype(np.uint16) * 5, 1, bits=16)
            add("cmyk", four, 5)
            add("cmyk16", four.astype(np.uint16) * 256 + 9, 5, bits=16)
            add("rgba16", four.astype(np.uint16) * 256 + 9, 2, bits=16, tags={338: (3, [2])})
            add("rgbx", four, 2, tags={338: (3, [0])})
            add("rgb_two_more", np.concatenate([four, gray], axis=2), 2, tags={338: (3, [0, 0])})
            add("reversed", rgb, 2, reverse=True)
            add("white_is_zero16", gray.astype(np.uint16) * 2, 0, bits=16)
            if (order, compress) == (">", "deflate"):
                continue  # Pillow takes the bytes of these in the wrong order
            add("i16", gray.astype(np.int16) * 5 - 300, 1, bits=16, format=2)
            add("i32", gray.astype(np.int32) * 5 - 300, 1, bits=32, format=2)
            add("f32", gray.astype(np.float32) * 1.7 - 30, 1, bits=32, format=3)
    for bits in (1, 2, 4):
        small = gray >> (8 - bits)
        files[f"l_{bits}bit.tif"] = tiff(small, 1, bits=bits, rows=5)
        files[f"l_{bits}bit_white.tif"] = tiff(small, 0, bits=bits)
        files[f"l_{bits}bit_reversed.tif"] = tiff(small, 1, bits=bits, reverse=True)
        files[f"p_{bits}bit.tif"] = tiff(small, 3, bits=bits, tags=colours(bits))
        files[f"p_{bits}bit_deflate.tif"] = tiff(small, 3, bits=bits, compress="deflate", tags=colours(bits))
        files[f"l_{bits}bit_tiled.tif"] = tiff(small, 1, bits=bits, tile=16)
    files["u32.tif"] = tiff(gray.astype(np.uint32) * 5, 1, bits=32)
    files["la_premultiplied.tif"] = tiff(four[..., 2:], 1, tags={338: (3, [1])})
    files["palette_alpha.tif"] = tiff(np.concatenate([index, gray], axis=2), 3, tags={338: (3, [2]), **colours(8)})

    image = scene(w, h)
    files["big.tif"] = encoded(image, "TIFF", big_tiff=True)
    files["big_lzw.tif"] = encoded(image.quantize(20), "TIFF", big_tiff=True, compression="tiff_lzw")
    files["pages.tif"] = encoded(image, "TIFF", save_all=True, append_images=[noise(9, 9, 2)])
    for mode in ("P", "1", "L", "LA", "RGBA", "CMYK", "I;16"):
        converted = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 5) if mode == "I;16" else image.convert(mode)
        for compression in ("tiff_lzw", "packbits", "tiff_adobe_deflate"):
            files[f"{mode.lower().replace(';', '')}_{compression}.tif"] = encoded(converted, "TIFF", compression=compression)
    files["i16_lzw_predictor.tif"] = encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 5), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    tall = scene(45, 70)
    for quality in (50, 95):
        files[f"jpeg_q{quality}.tif"] = encoded(tall, "TIFF", compression="jpeg", quality=quality)
    files["jpeg_strips.tif"] = encoded(tall, "TIFF", compression="jpeg", strip_size=45 * 3 * 16)
    files["jpeg_gray.tif"] = encoded(tall.convert("L"), "TIFF", compression="jpeg")
    files["jpeg_cmyk.tif"] = encoded(tall.convert("CMYK"), "TIFF", compression="jpeg")
    def stream(part, **options):
        return encoded(Image.fromarray(part), "JPEG", quality=85, **options)
    a = np.asarray(tall)
    tiles = [stream(np.pad(a[y : y + 32, x : x + 32], ((0, max(0, y + 32 - 70)), (0, max(0, x + 32 - 45)), (0, 0)), mode="edge"), subsampling=2)
             for y in (0, 32, 64) for x in (0, 32)]
    files["jpeg_tiled_ycc.tif"] = tiff(a, 6, tile=32, compress="jpeg", chunks=tiles, tags={530: (3, [2, 2])})
    files["jpeg_ycc_422.tif"] = tiff(a, 6, compress="jpeg", chunks=[stream(a, subsampling=1)], tags={530: (3, [2, 1])})
    files["jpeg_rgb.tif"] = tiff(a, 2, compress="jpeg", chunks=[stream(a, keep_rgb=True)])
    files["jpeg_white.tif"] = tiff(a[..., :1], 0, compress="jpeg", chunks=[stream(a[..., 0])])
    files["jpeg_progressive.tif"] = tiff(a, 6, compress="jpeg", chunks=[stream(a, subsampling=2, progressive=True)], tags={530: (3, [2, 2])})
    planes = [stream(a[..., channel]) for channel in range(3)]
    files["jpeg_planar.tif"] = tiff(a, 2, planar=True, compress="jpeg", chunks=planes)
    return files


def oriented():
    """All eight orientations, in EXIF and in XMP."""
    files = {}
    image = scene(23, 11)
    for value in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = value
        xmp = XMP.format(value).encode()
        files[f"exif_{value}.jpg"] = encoded(image, "JPEG", quality=90, exif=exif)
        files[f"exif_{value}.png"] = encoded(image, "PNG", exif=exif)
        files[f"exif_{value}.webp"] = encoded(image, "WEBP", quality=90, exif=exif)
        files[f"exif_{value}.tif"] = encoded(image, "TIFF", tiffinfo={274: value})
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.format(8))
    files["xmp_8.png"] = encoded(image, "PNG", pnginfo=info)
    xmp = XMP.format(6).encode()
    files["xmp_6.jpg"] = encoded(image, "JPEG", quality=90, xmp=xmp)
    files["xmp_6.webp"] = encoded(image, "WEBP", lossless=True, xmp=xmp)
    files["xmp_6.tif"] = encoded(image, "TIFF", tiffinfo={700: xmp})
    exif = Image.Exif()
    exif[0x0112] = 3
    files["exif_before_xmp.jpg"] = encoded(image, "JPEG", quality=90, exif=exif, xmp=xmp)
    exif[0x0112] = 9
    files["exif_9.jpg"] = encoded(image, "JPEG", quality=90, exif=exif)
    big = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\5\0\0\0\0\0\0"
    files["exif_big_endian_5.jpg"] = encoded(image, "JPEG", quality=90, exif=big)
    return files


def row(name, data):
    (HERE / name).write_bytes(data)
    row = {"file": name}
    try:
        with Image.open(io.BytesIO(data)) as opened:
            row["mode"] = opened.mode
            plain = opened.convert("RGB")
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # whatever Pillow's plugins raise is a refusal
        return {"file": name, "refused": type(error).__name__}
    row.update(width=plain.width, height=plain.height, sha256=digest(plain))
    if digest(upright) != row["sha256"] or upright.size != plain.size:
        row.update(upright=[upright.width, upright.height], upright_sha256=digest(upright))
    return row


def main():
    for old in HERE.glob("*.*"):
        if old.suffix in (".jpg", ".png", ".webp", ".bmp", ".gif", ".tif"):
            old.unlink()
    versions = {"pillow": PIL.__version__, **{name: features.version(name) for name in ("libjpeg_turbo", "webp", "libtiff", "zlib")}}
    files = {}
    for part in (jpegs, pngs, webps, bmps, gifs, tiffs, oriented):
        for name, data in part().items():
            assert name not in files, name
            files[name] = data
    rows = ",\n".join(json.dumps(row(name, data)) for name, data in files.items())
    (HERE / "golden.json").write_text(f'{{\n"versions": {json.dumps(versions)},\n"decode": [\n{rows}\n]\n}}\n')


if __name__ == "__main__":
    main()
