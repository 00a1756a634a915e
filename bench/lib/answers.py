"""Answers in one form, whichever server they come from, and whether they are right. Standard library alone."""

import base64
import json
import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Mask:
    """One class a pixel, row by row."""

    height: int
    width: int
    pixels: bytes


def numbers(value):
    """A list of floats out of nested lists, whichever way they are nested."""
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [float(value)]


def standard(job, body):
    """The answer of a server that answers as `work.py` does: a JSON list, an object of classes, base64 or a PNG."""
    if job.answer == "mask":
        if job.reply == "png":
            return png(body)
        told = json.loads(body)
        height, width = told["shape"][-2:]
        return Mask(height, width, base64.b64decode(told["base64_prediction"]))
    told = json.loads(body)
    return {str(name): float(share) for name, share in told.items()} if job.answer == "classes" else numbers(told)


def v2_binary(body, headers):
    """(description, float32 or raw bytes by output) of an answer of the Open Inference Protocol in binary form."""
    head = int(headers.get("inference-header-content-length", len(body)))
    told, at, parts = json.loads(body[:head]), head, {}
    for output in told["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            parts[output["name"]] = output["data"]
        else:
            parts[output["name"]] = body[at : at + size]
            at += size
    return told, parts


def v2_numbers(body, headers):
    """The floats of the first output, whether they come as JSON or as FP32."""
    told, parts = v2_binary(body, headers)
    part = parts[told["outputs"][0]["name"]]
    return list(struct.unpack(f"<{len(part) // 4}f", part)) if isinstance(part, bytes) else numbers(part)


def v2_text(body, headers):
    """The one BYTES element of the first output, without its length."""
    told, parts = v2_binary(body, headers)
    part = parts[told["outputs"][0]["name"]]
    return part[4:] if isinstance(part, bytes) else numbers_or_text(part)


def numbers_or_text(part):
    first = part[0]
    while isinstance(first, list):
        first = first[0]
    return first.encode() if isinstance(first, str) else first


def difference(job, expected, found):
    """What is wrong with an answer, in words; None where it is right."""
    if job.answer == "mask":
        if (found.height, found.width) != (expected.height, expected.width) or len(found.pixels) != len(expected.pixels):
            return (f"a mask of {found.height}x{found.width} with {len(found.pixels)} pixels,"
                    f" not of {expected.height}x{expected.width}")
        same = sum(a == b for a, b in zip(found.pixels, expected.pixels, strict=True)) / len(expected.pixels)
        return None if same >= job.agreement else f"{same:.2%} of the pixels have the right class, not {job.agreement:.2%}"
    if job.answer == "classes":
        if list(found) != list(expected):
            return f"the classes {list(found)}, not {list(expected)}"
        found, expected = list(found.values()), list(expected.values())
    if len(found) != len(expected):
        return f"{len(found)} numbers, not {len(expected)}"
    largest = max(abs(number) for number in expected)
    far = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    return None if far <= job.tolerance * largest else f"a number is {far:g} away, of {largest:g}"


def load(job):
    """The right answer, from the file that bench/make.py wrote."""
    told = json.loads(job.expected_file().read_text(encoding="utf-8"))
    if job.answer == "mask":
        return Mask(told["height"], told["width"], zlib.decompress(base64.b64decode(told["zlib_pixels"])))
    return told


def png(data):
    """The levels of a grey or palette PNG, not interlaced: what a mask is kept in."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"no PNG: it begins with {data[:8]!r}")
    at, packed, width = 8, b"", None
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        part = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", part)
            if colour not in (0, 3) or depth > 8 or interlaced:
                raise ValueError(f"a PNG of colour type {colour}, {depth} bits, interlace {interlaced} is no mask")
        elif kind == b"IDAT":
            packed += part
        at += size + 12
    if width is None:
        raise ValueError("a PNG without a header")
    stride, rows = (width * depth + 7) // 8, zlib.decompress(packed)
    above, pixels = bytearray(stride), bytearray()
    for row in range(height):
        begin = row * (stride + 1)
        line = unfiltered(rows[begin], bytearray(rows[begin + 1 : begin + 1 + stride]), above)
        pixels += line if depth == 8 else unpacked(line, depth, width)
        above = line
    return Mask(height, width, bytes(pixels))


def unfiltered(kind, line, above):
    """A row of a PNG as it was before its filter, of one byte a pixel at most."""
    for at in range(len(line)) if kind else ():
        left, up, corner = (line[at - 1], above[at], above[at - 1]) if at else (0, above[0], 0)
        if kind == 4:
            guess = left + up - corner
            near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
        else:
            near = {1: left, 2: up, 3: (left + up) // 2}[kind]
        line[at] = (line[at] + near) & 255
    return line


def unpacked(line, depth, width):
    each = 8 // depth
    return bytes((line[at // each] >> (8 - depth * (at % each + 1))) & ((1 << depth) - 1) for at in range(width))
