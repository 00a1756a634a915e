"""A small writer of TIFF files that Pillow cannot write: tiles, planes, reversed bits, any tags."""

import struct
import zlib

import numpy as np

REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def tiff(samples, photometric, bits=8, order="<", tile=None, rows=None, planar=False, compress="raw", reverse=False, tags=(), chunks=None, format=1):
    """`samples`: height x width x channels of the sample type, or rows of bytes with `bits` below 8 (then give `chunks`)."""
    height, width, channels = samples.shape
    kind = samples.dtype.newbyteorder(order)
    if chunks is None:
        planes = [samples[..., c : c + 1] for c in range(channels)] if planar else [samples]
        step_y, step_x = (tile, tile) if tile else (rows or height, width)
        chunks = []
        for plane in planes:
            for top in range(0, height, step_y):
                for left in range(0, width, step_x):
                    part = plane[top : top + step_y, left : left + step_x]
                    if tile:
                        pad = ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0))
                        part = np.pad(part, pad, mode="edge")
                    chunks.append(packed(part, bits) if bits < 8 else part.astype(kind).tobytes())
    if compress == "deflate":
        chunks = [zlib.compress(chunk) for chunk in chunks]
    if reverse:
        chunks = [chunk.translate(REVERSED) for chunk in chunks]
    code = {"raw": 1, "deflate": 8, "jpeg": 7}[compress]
    entries = {256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [code]), 262: (3, [photometric]), 277: (3, [channels])}
    if reverse:
        entries[266] = (3, [2])
    if planar:
        entries[284] = (3, [2])
    if format != 1:
        entries[339] = (3, [format] * channels)
    if tile:
        entries.update({322: (4, [tile]), 323: (4, [tile])})
        places, lengths = 324, 325
    else:
        entries[278] = (4, [rows or height])
        places, lengths = 273, 279
    entries[lengths] = (4, [len(chunk) for chunk in chunks])
    entries[places] = (4, [0] * len(chunks))
    entries.update(tags)

    def value(tag, number):
        kind, values = entries[tag]
        if kind in (1, 7):
            return bytes(values)
        return b"".join(struct.pack(order + {3: "H", 4: "I"}[kind], v) for v in values)

    start = 8 + 2 + 12 * len(entries) + 4
    long = sum(len(value(tag, 0)) for tag in entries if len(value(tag, 0)) > 4)
    at = start + long
    offsets = []
    for chunk in chunks:
        offsets.append(at)
        at += len(chunk)
    entries[places] = (4, offsets)
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    tail = b""
    for tag in sorted(entries):
        body = value(tag, 0)
        count = len(entries[tag][1])
        out += struct.pack(order + "HHI", tag, entries[tag][0], count)
        if len(body) > 4:
            out += struct.pack(order + "I", start + len(tail))
            tail += body
        else:
            out += body + b"\0" * (4 - len(body))
    return out + struct.pack(order + "I", 0) + tail + b"".join(chunks)


def packed(samples, bits):
    rows = b""
    for row in samples.reshape(samples.shape[0], -1):
        digits = "".join(f"{int(value):0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))
    return rows
