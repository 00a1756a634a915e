"""A small writer of JPEG files that Pillow cannot write: any sampling factors, component names, scans and markers.

Coefficients are drawn, not transformed from an image: a decoder does not care.
"""

import random
import struct

# The tables of the standard, section K.3: how many codes there are of each length, and the symbols.
DC = ([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], list(range(12)))
AC = (
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D],
    list(bytes.fromhex(
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738"
        "393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5"
        "a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
    )),
)


def codes(table):
    out, code, symbols = {}, 0, iter(table[1])
    for length, count in enumerate(table[0], 1):
        for _ in range(count):
            out[next(symbols)] = (code, length)
            code += 1
        code <<= 1
    return out


DC_CODES, AC_CODES = codes(DC), codes(AC)


class Bits:
    def __init__(self):
        self.value, self.count, self.out = 0, 0, bytearray()

    def put(self, value, count):
        self.value = self.value << count | value
        self.count += count
        while self.count >= 8:
            self.count -= 8
            byte = self.value >> self.count & 0xFF
            self.out += bytes([byte, 0]) if byte == 0xFF else bytes([byte])
        self.value &= (1 << self.count) - 1

    def flush(self):
        if self.count:
            self.put((1 << 8 - self.count) - 1, 8 - self.count)


def magnitude(bits, value):
    size = abs(value).bit_length()
    return size, (value if value >= 0 else value + (1 << size) - 1)


def write_block(bits, block, last):
    size, extra = magnitude(bits, block[0] - last)
    bits.put(*DC_CODES[size])
    bits.put(extra, size)
    run = 0
    for value in block[1:]:
        if value == 0:
            run += 1
            continue
        while run > 15:
            bits.put(*AC_CODES[0xF0])
            run -= 16
        size, extra = magnitude(bits, value)
        bits.put(*AC_CODES[run << 4 | size])
        bits.put(extra, size)
        run = 0
    if run:
        bits.put(*AC_CODES[0])


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def adobe(transform):
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def jpeg(width, height, factors, names=None, head=JFIF, restart=0, interleaved=True, tables=True, wide=False, seed=1):
    """`factors`: horizontal and vertical sampling of each component."""
    rand = random.Random(seed)
    names = names or range(1, len(factors) + 1)
    steps = [min(3 + i // 3, 40) for i in range(64)]
    quant = struct.pack(">64H", *steps) if wide else bytes(steps)
    out = b"\xff\xd8" + head + segment(0xDB, bytes([0x10 if wide else 0]) + quant)
    parts = b"".join(bytes([name, h << 4 | v, 0]) for name, (h, v) in zip(names, factors))
    out += segment(0xC1 if wide else 0xC0, struct.pack(">BHHB", 8, height, width, len(factors)) + parts)
    if tables:
        for kind, table in ((0, DC), (0x10, AC)):
            out += segment(0xC4, bytes([kind]) + bytes(table[0]) + bytes(table[1]))
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    across, down = max(h for h, _ in factors), max(v for _, v in factors)
    units = (-(-width // (8 * across)), -(-height // (8 * down)))

    # Blocks of each component, whole units of them: a slow wave with some detail.
    planes = []
    for h, v in factors:
        planes.append({})
        level = rand.randint(-100, 100)
        for y in range(units[1] * v):
            for x in range(units[0] * h):
                level = max(-250, min(250, level + rand.randint(-60, 60)))
                block = [level] + [0] * 63
                for _ in range(rand.randint(0, 9)):
                    block[min(63, 1 + int(rand.expovariate(0.12)))] = rand.randint(-25, 25)
                planes[-1][x, y] = block

    def scan(members, unit_blocks, across, down):
        nonlocal out
        body = bytes([len(members)]) + b"".join(bytes([names[m], 0]) for m in members) + bytes([0, 63, 0])
        out += segment(0xDA, body)
        bits, last = Bits(), dict.fromkeys(members, 0)
        for unit in range(across * down):
            if restart and unit and unit % restart == 0:
                bits.flush()
                bits.out += bytes([0xFF, 0xD0 + (unit // restart - 1) % 8])
                last = dict.fromkeys(members, 0)
            for member in members:
                for x, y in unit_blocks(member, unit % across, unit // across):
                    block = planes[member][x, y]
                    write_block(bits, block, last[member])
                    last[member] = block[0]
        bits.flush()
        out += bytes(bits.out)

    names = list(names)
    if interleaved and len(factors) > 1:
        def blocks(member, x, y):
            h, v = factors[member]
            return [(x * h + i, y * v + j) for j in range(v) for i in range(h)]
        scan(range(len(factors)), blocks, *units)
    else:
        for member, (h, v) in enumerate(factors):
            # A scan of one component has the blocks that hold pixels, no more.
            wide_blocks = -(-(-(-width * h // across)) // 8)
            high_blocks = -(-(-(-height * v // down)) // 8)
            scan([member], lambda member, x, y: [(x, y)], wide_blocks, high_blocks)
    return out + b"\xff\xd9"
