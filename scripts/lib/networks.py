"""Networks of next to nothing, as files: TorchScript and ONNX, written by hand, so that what a server costs can be
measured without PyTorch. Standard library alone.

Each takes 32-bit numbers whose first side is the batch's; what it answers is said beside its name.
"""

import io
import pickle
import sys
import types
import zipfile

# What each does, as TorchScript's file holds it, after `def forward(self, x)`.
CODE = {
    # The first number of each row, whatever lies behind it: nothing is computed, and the answer is small.
    "first": ["return torch.slice(x, 1, 0, 1, 1)"],
    # Seven channels out of three, as many as the example's network has classes.
    "seven": ["return torch.cat([x, x, torch.slice(x, 1, 0, 1, 1)], 1)"],
    # The first number of each row after some milliseconds on one thread: rows of four become long ones, over and over.
    "slow": ["y = torch.repeat(x, [1, 4096])", "for _0 in range(60):", "  y = torch.sin(y)",
             "return torch.slice(y, 1, 0, 1, 1)"],
}
FLOAT, INT64 = 1, 7


def torchscript(name):
    """The bytes of a `.pt`: an archive of a module without weights, and of its code."""
    files = {
        "data.pkl": module(),
        "code/__torch__.py": code(CODE[name]),
        "constants.pkl": pickle.dumps((), protocol=2),
        "version": b"3\n",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"network/{file}"), data)
    return out.getvalue()


def code(lines):
    head = ["class Network(Module):", "  __parameters__ = []", "  __buffers__ = []", "  training : bool",
            "  def forward(self: __torch__.Network,", "    x: Tensor) -> Tensor:"]
    return "\n".join(head + [f"    {line}" for line in lines] + [""]).encode()


def module():
    """An object of the archive's own class, as pickle writes it."""
    home = types.ModuleType("__torch__")
    network = type("Network", (), {"__module__": "__torch__"})
    home.Network = network
    made = network()
    made.training = False
    before = sys.modules.get("__torch__")
    sys.modules["__torch__"] = home
    try:
        return pickle.dumps(made, protocol=2)
    finally:
        if before is None:
            del sys.modules["__torch__"]
        else:
            sys.modules["__torch__"] = before


def onnx(name):
    """The bytes of a `.onnx` that does what the `.pt` of the same name does."""
    numbers = {"starts": [0], "ends": [1], "axes": [1]}
    cut = node("Slice", ["x", *numbers], "y" if name == "first" else "cut")
    if name == "first":
        nodes, taken, given = [cut], ["batch", "width"], ["batch", 1]
    elif name == "seven":
        nodes = [cut, node("Concat", ["x", "x", "cut"], "y", attribute("axis", 1))]
        taken, given = ["batch", 3, "height", "width"], ["batch", 7, "height", "width"]
    else:
        raise KeyError(name)
    graph = b"".join(field(1, one) for one in nodes) + field(2, b"network")
    graph += b"".join(field(5, whole_numbers(of, values)) for of, values in numbers.items())
    graph += field(11, port("x", taken)) + field(12, port("y", given))
    opset = field(2, 17)
    return field(1, 8) + field(2, b"marserve") + field(7, graph) + field(8, opset)


def node(kind, inputs, output, attributes=b""):
    return b"".join(field(1, name.encode()) for name in inputs) + field(2, output.encode()) + field(4, kind.encode()) + attributes


def attribute(name, value):
    """A whole number of a node."""
    return field(5, field(1, name.encode()) + field(3, value) + field(20, 2))


def whole_numbers(name, values):
    raw = b"".join(value.to_bytes(8, "little", signed=True) for value in values)
    return field(1, len(values)) + field(2, INT64) + field(8, name.encode()) + field(9, raw)


def port(name, sides):
    sides = [field(1, side) if isinstance(side, int) else field(2, side.encode()) for side in sides]
    shape = b"".join(field(1, side) for side in sides)
    return field(1, name.encode()) + field(2, field(1, field(1, FLOAT) + field(2, shape)))


def field(number, value):
    """A field of a protocol buffer: a number of variable length, or bytes with their length before them."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))
