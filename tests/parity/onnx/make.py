"""Writes small ONNX networks beside this file, and what ONNX Runtime answers to them: expected.json.

Made with the packages of requirements.txt. Numbers are drawn here, so every network has made-up weights. In the table a
tensor has a type (as the Open Inference Protocol calls it), a shape, and its bytes as they go over the wire, in hex;
`data` has the same as numbers or texts where JSON can hold them. `planes` stands for a picture whose every plane is of
one number, which keeps the table small.
"""

import json
import math
import struct
import tempfile
from pathlib import Path
from typing import Any, Optional

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

HERE = Path(__file__).parent
IR = 10
OPSET = 20
Shape = list[Optional[int]]

KINDS: dict[str, tuple[int, Any]] = {
    "BOOL": (TensorProto.BOOL, np.bool_), "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16), "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64), "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16), "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64), "FP16": (TensorProto.FLOAT16, np.float16),
    "BF16": (TensorProto.BFLOAT16, np.uint16), "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64), "BYTES": (TensorProto.STRING, np.object_),
}
NAMES = {"string": "BYTES"} | {kind.lower(): kind for kind in KINDS if kind != "BYTES"}
Port = tuple[str, str, Shape]


def port(port: Port) -> onnx.ValueInfoProto:
    name, kind, shape = port
    sides = [f"{name}_{i}" if side is None and i else "batch" if side is None else side
             for i, side in enumerate(shape)]
    return helper.make_tensor_value_info(name, KINDS[kind][0], sides)


def graph(name: str, nodes: list[onnx.NodeProto], inputs: list[Port], outputs: list[Any],
          weights: Optional[dict[str, np.ndarray]] = None) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes, name, [port(one) for one in inputs],
        [one if isinstance(one, onnx.ValueInfoProto) else port(one) for one in outputs],
        [numpy_helper.from_array(array, weight) for weight, array in (weights or {}).items()])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, ir_version=IR, opset_imports=opsets, producer_name="marserve")


def wire(kind: str, array: np.ndarray) -> bytes:
    if kind != "BYTES":
        return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [str(text).encode() for text in array.reshape(-1)]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def told(kind: str, array: np.ndarray) -> dict[str, Any]:
    entry: dict[str, Any] = {"datatype": kind, "shape": list(array.shape), "hex": wire(kind, array).hex()}
    values = array.reshape(-1).tolist()
    if kind != "BF16" and len(values) <= 64 and all(not isinstance(v, float) or math.isfinite(v) for v in values):
        entry["data"] = values
    return entry


class Table:
    def __init__(self) -> None:
        self.networks: dict[str, Any] = {}

    def add(self, name: str, model: onnx.ModelProto, inputs: list[Port], outputs: list[Port],
            cases: list[dict[str, np.ndarray]], hand: Optional[list[dict[str, np.ndarray]]] = None,
            tolerance: float = 0) -> None:
        """`hand`: the answers worked out by hand, which ONNX Runtime has to give as well where Python can ask it.

        `tolerance`: how far numbers may be off, as a part of the largest one; processors round halves and bytes each
        in their own way."""
        path = HERE / f"{name}.onnx"
        if model.graph.name != "external":
            onnx.checker.check_model(model)
            path.write_bytes(model.SerializeToString())
        asked = []
        kinds = {one: kind for one, kind, _ in inputs + outputs}
        for number, case in enumerate(cases):
            if "BF16" in kinds.values():
                answer = hand[number] if hand else {}
            else:
                session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                answer = dict(zip([o.name for o in session.get_outputs()], session.run(None, case)))
                for output, value in (hand[number] if hand else {}).items():
                    assert wire(kinds[output], answer[output]) == wire(kinds[output], value), (name, output, answer)
            asked.append({"inputs": {key: planes(value) or told(kinds[key], value) for key, value in case.items()},
                          "outputs": {key: told(kinds[key], value) for key, value in answer.items() if key in kinds}})
        described = [[{"name": n, "datatype": k, "shape": s} for n, k, s in side] for side in (inputs, outputs)]
        self.networks[name] = {"inputs": described[0], "outputs": described[1], "cases": asked}
        if tolerance:
            self.networks[name]["tolerance"] = tolerance


def planes(array: np.ndarray) -> Optional[dict[str, Any]]:
    if array.ndim != 4 or array.size < 1000:
        return None
    first = array[:, :, 0, 0]
    assert (array == first[:, :, None, None]).all()
    return {"datatype": "FP32", "shape": list(array.shape), "planes": first.reshape(-1).tolist()}


def edges(kind: str) -> np.ndarray:
    """Two rows of four values, the outermost of the type among them."""
    dtype = KINDS[kind][1]
    if kind == "BOOL":
        return np.array([[True, False, False, True], [False, True, True, True]])
    if kind == "BYTES":
        return np.array([["", "a", "two\nlines", "Zürich"], ["日本", "x" * 300, " ", "null\0inside"]], dtype=object)
    if kind == "BF16":  # as bits: 1, -2, infinity, the least, not a number, -0, 3.14, the largest
        return np.array([[0x3F80, 0xC000, 0x7F80, 0x0001], [0x7FC0, 0x8000, 0x4049, 0x7F7F]], dtype=np.uint16)
    if kind.startswith("FP"):
        info = np.finfo(dtype)
        return np.array([[0, -0.0, 1.5, info.max], [info.min, np.inf, -np.inf, np.nan]], dtype=dtype)
    info = np.iinfo(dtype)
    return np.array([[0, 1, info.min, info.max], [2, 3, 5, 7]], dtype=dtype)


def identities(table: Table) -> None:
    for name, kind in NAMES.items():
        ports: list[list[Port]] = [[("INPUT0", kind, [None, None])], [("OUTPUT0", kind, [None, None])]]
        node = helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])
        dtype = KINDS[kind][1]
        cases = [edges(kind), edges(kind)[:1], np.zeros((0, 3), dtype), np.zeros((2, 0), dtype)]
        table.add(f"identity_{name}", graph(f"identity_{name}", [node], *ports), *ports,
                  [{"INPUT0": case} for case in cases], [{"OUTPUT0": case} for case in cases])


def arithmetic(table: Table) -> None:
    """Triton's `simple` and `simple_string`, and a sum of numbers with a point."""
    names = ("INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1")
    whole: list[Port] = [(name, "INT32", [None, 16]) for name in names]
    nodes = [helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
             helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])]
    first, second = np.arange(16, dtype=np.int32)[None], np.ones((1, 16), np.int32)
    rows = np.concatenate([first, first * 3]), np.concatenate([second, second * -7])
    table.add("simple", graph("simple", nodes, whole[:2], whole[2:]), whole[:2], whole[2:],
              [{"INPUT0": first, "INPUT1": second}, {"INPUT0": rows[0], "INPUT1": rows[1]}],
              [{"OUTPUT0": first + 1, "OUTPUT1": first - 1}, {"OUTPUT0": rows[0] + rows[1], "OUTPUT1": rows[0] - rows[1]}])

    texts: list[Port] = [(name, "BYTES", [None, 16]) for name in names]
    casts = [helper.make_node("Cast", [f"INPUT{i}"], [f"whole{i}"], to=TensorProto.INT32) for i in range(2)]
    back = [helper.make_node("Cast", [f"answer{i}"], [f"OUTPUT{i}"], to=TensorProto.STRING) for i in range(2)]
    middle = [helper.make_node("Add", ["whole0", "whole1"], ["answer0"]),
              helper.make_node("Sub", ["whole0", "whole1"], ["answer1"])]

    def words(array: np.ndarray) -> np.ndarray:
        return array.astype(str).astype(object)

    table.add("simple_string", graph("simple_string", casts + middle + back, texts[:2], texts[2:]), texts[:2], texts[2:],
              [{"INPUT0": words(first), "INPUT1": words(second)}],
              [{"OUTPUT0": words(first + 1), "OUTPUT1": words(first - 1)}])

    sums: list[Port] = [(name, "FP32", [None, 3]) for name in ("x", "y", "sum")]
    x, y = np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([[0.5, 0.25, -3], [1, 1, 1]], np.float32)
    table.add("add_fp32", graph("add_fp32", [helper.make_node("Add", ["x", "y"], ["sum"])], sums[:2], sums[2:]),
              sums[:2], sums[2:], [{"x": x, "y": y}], [{"sum": x + y}])


def vision(table: Table) -> None:
    """A classifier of a thousand classes and a segmenter of four: a mean or a pixel, and one matrix."""
    draw = np.random.default_rng(7)
    matrix = draw.normal(size=(3, 1000)).astype(np.float32)
    inputs: list[Port] = [("input", "FP32", [None, 3, 224, 224])]
    outputs: list[Port] = [("output", "FP32", [None, 1000])]
    nodes = [helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
             helper.make_node("Flatten", ["mean"], ["features"], axis=1),
             helper.make_node("MatMul", ["features", "matrix"], ["output"])]
    pictures = [np.broadcast_to(np.array(levels, np.float32)[:, :, None, None], (len(levels), 3, 224, 224)).copy()
                for levels in ([[0.5, -1, 2]], [[1, 0, 0], [0, 1, 0]])]
    table.add("classifier", graph("classifier", nodes, inputs, outputs, {"matrix": matrix}), inputs, outputs,
              [{"input": picture} for picture in pictures])

    kernel = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.25, 0.25, 0.25]], np.float32)[:, :, None, None]
    bias = np.array([0, 0, 0, 0.1], np.float32)
    ports: list[list[Port]] = [[("input", "FP32", [None, 3, None, None])], [("output", "FP32", [None, 4, None, None])]]
    node = helper.make_node("Conv", ["input", "kernel", "bias"], ["output"], kernel_shape=[1, 1])
    pixels = np.array([[[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]]], np.float32)
    table.add("segmenter", graph("segmenter", [node], *ports, {"kernel": kernel, "bias": bias}), *ports,
              [{"input": pixels}])


def shapes(table: Table) -> None:
    """A batch of fixed size, weights among the inputs, weights in a file of their own, an answer without a batch."""
    ports: list[list[Port]] = [[("x", "FP32", [4, 2])], [("twice", "FP32", [4, 2])]]
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    table.add("fixed_batch", graph("fixed_batch", [helper.make_node("Add", ["x", "x"], ["twice"])], *ports), *ports,
              [{"x": x}], [{"twice": x + x}])

    ports = [[("x", "FP32", [None, 2])], [("y", "FP32", [None, 2])]]
    weight = np.array([[10, 1], [100, 2]], np.float32)
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    model = graph("weights_as_inputs", [node], [*ports[0], ("weight", "FP32", [2, 2])], ports[1], {"weight": weight})
    row = np.array([[1, 2]], np.float32)
    answer = {"y": np.array([[210, 5]], np.float32)}
    table.add("weights_as_inputs", model, *ports, [{"x": row}], [answer])

    model = graph("external", [node], *ports, {"weight": weight})
    (HERE / "external.weights").unlink(missing_ok=True)  # or it would be written behind what is there
    onnx.save_model(model, HERE / "external.onnx", save_as_external_data=True, location="external.weights",
                    size_threshold=0)
    (HERE / "external.weights").chmod(0o644)
    table.add("external", model, *ports, [{"x": row}], [answer])

    ports = [[("x", "FP32", [1, 2])], [("y", "FP32", [1, 2])]]
    table.add("batch_of_one", graph("batch_of_one", [node], *ports, {"weight": weight}), *ports, [{"x": row}], [answer])

    ports = [[("x", "FP32", [None, 2])], [("total", "FP32", [])]]
    node = helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)
    table.add("scalar", graph("scalar", [node], *ports), *ports, [{"x": x}], [{"total": np.float32(28).reshape(())}])


class Pictures(CalibrationDataReader):
    """What the ranges of numbers are taken from before they become bytes."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.left = iter([{"input": picture[None]} for picture in pictures])

    def get_next(self) -> Optional[dict[str, np.ndarray]]:
        return next(self.left, None)


def smaller(table: Table) -> None:
    """A small classifier with numbers of half the size within, all through, and with bytes in two ways."""
    draw = np.random.default_rng(11)
    weights = {"kernel": draw.normal(size=(8, 3, 3, 3)), "bias": draw.normal(size=8),
               "matrix": draw.normal(size=(8, 10)), "shift": draw.normal(size=10)}
    nodes = [helper.make_node("Conv", ["input", "kernel", "bias"], ["edges"], pads=[1, 1, 1, 1]),
             helper.make_node("Relu", ["edges"], ["bright"]),
             helper.make_node("GlobalAveragePool", ["bright"], ["mean"]),
             helper.make_node("Flatten", ["mean"], ["features"], axis=1),
             helper.make_node("MatMul", ["features", "matrix"], ["product"]),
             helper.make_node("Add", ["product", "shift"], ["output"])]
    inputs: list[Port] = [("input", "FP32", [None, 3, None, None])]
    outputs: list[Port] = [("output", "FP32", [None, 10])]
    single = {name: array.astype(np.float32) for name, array in weights.items()}
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    pictures = draw.normal(size=(16, 3, 8, 8)).astype(np.float32)
    full = graph("full", nodes, inputs, outputs, single)
    session = ort.InferenceSession(full.SerializeToString(), providers=["CPUExecutionProvider"])
    true = session.run(None, {"input": pictures})[0]

    def add(name: str, model: onnx.ModelProto, ports: list[list[Port]], tolerance: float) -> None:
        kind = KINDS[ports[0][0][1]][1]
        cases = [{"input": pictures[:count].astype(kind)} for count in (1, 2)]
        table.add(name, model, *ports, cases, tolerance=tolerance)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        off = np.abs(session.run(None, {"input": pictures.astype(kind)})[0] - true).max() / np.abs(true).max()
        assert off < 0.05, (name, off)

    ports = [[("input", "FP16", [None, 3, None, None])], [("output", "FP16", [None, 10])]]
    add("half", graph("half", nodes, *ports, half), ports, 2e-3)

    within = [helper.make_node("Cast", ["input"], ["halved"], to=TensorProto.FLOAT16)]
    for node in nodes:
        within.append(onnx.NodeProto())
        within[-1].CopyFrom(node)
    within[1].input[0], within[-1].output[0] = "halved", "halves"
    within.append(helper.make_node("Cast", ["halves"], ["output"], to=TensorProto.FLOAT))
    add("half_within", graph("half_within", within, inputs, outputs, half), [inputs, outputs], 2e-3)

    with tempfile.TemporaryDirectory() as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "made.onnx"
        plain.write_bytes(full.SerializeToString())
        quantize_dynamic(plain, made, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
        add("bytes_dynamic", onnx.load(made), [inputs, outputs], 2e-2)
        quantize_static(plain, made, Pictures(pictures), quant_format=QuantFormat.QDQ, per_channel=True)
        add("bytes_static", onnx.load(made), [inputs, outputs], 2e-2)


def others(table: Table) -> None:
    """Texts to numbers, a list of dictionaries, a list of tensors, one that takes its time, one of a later time."""
    ports: list[list[Port]] = [[("text", "BYTES", [None])], [("words", "INT64", [None])]]
    node = helper.make_node("StringSplit", ["text"], ["split", "words"])
    table.add("words", graph("words", [node], *ports), *ports,
              [{"text": np.array(["one", "two words", "", "and  then three"], dtype=object)}],
              [{"words": np.array([1, 2, 0, 3], np.int64)}])

    inputs: list[Port] = [("x", "FP32", [None, 2])]
    nodes = [helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
                              coefficients=[1.0, 0.0, 0.0, 1.0], intercepts=[0.0, 0.0], classlabels_ints=[3, 8],
                              multi_class=1, post_transform="SOFTMAX"),
             helper.make_node("ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[3, 8])]
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    zipped = helper.make_value_info("probabilities", helper.make_sequence_type_proto(kind))
    model = graph("zipmap", nodes, inputs, [("label", "INT64", [None]), zipped])
    table.add("zipmap", model, inputs, [("label", "INT64", [None])], [{"x": np.array([[1, 2]], np.float32)}],
              [{"label": np.array([8], np.int64)}])

    node = helper.make_node("ZipMap", ["x"], ["named"], domain="ai.onnx.ml", classlabels_strings=["no", "d\u00e9j\u00e0"])
    kind = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    named = helper.make_value_info("named", helper.make_sequence_type_proto(kind))
    (HERE / "zipmap_texts.onnx").write_bytes(graph("zipmap_texts", [node], inputs, [named]).SerializeToString())

    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    node = helper.make_node("SplitToSequence", ["x"], ["rows"], axis=0)
    rows = graph("sequence_output", [node], inputs, [helper.make_value_info("rows", kind)])
    (HERE / "sequence_output.onnx").write_bytes(rows.SerializeToString())

    ports = [[("rounds", "INT64", [None, 1])], [("done", "INT64", [None, 1])]]
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("Add", ["count", "one"], ["next"])],
        "round", [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                  helper.make_tensor_value_info("going", TensorProto.BOOL, []),
                  helper.make_tensor_value_info("count", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("next", TensorProto.INT64, [])],
        [numpy_helper.from_array(np.array(1, np.int64), "one")])
    nodes = [helper.make_node("ReduceMax", ["rounds"], ["most"], keepdims=0),
             helper.make_node("Loop", ["most", "", "zero"], ["counted"], body=body),
             helper.make_node("Mul", ["counted", "zero"], ["nothing"]),
             helper.make_node("Add", ["rounds", "nothing"], ["done"])]
    table.add("busy", graph("busy", nodes, *ports, {"zero": np.array(0, np.int64)}), *ports,
              [{"rounds": np.array([[3], [5]], np.int64)}], [{"done": np.array([[3], [5]], np.int64)}])

    tensors = helper.make_value_info(
        "tensors", helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [None])))
    joined = graph("sequence_input", [helper.make_node("ConcatFromSequence", ["tensors"], ["joined"], axis=0)], [],
                   [("joined", "FP32", [None])])
    joined.graph.input.append(tensors)
    (HERE / "sequence_input.onnx").write_bytes(joined.SerializeToString())

    later = graph("later", [helper.make_node("Identity", ["x"], ["y"])], inputs, [("y", "FP32", [None, 2])])
    later.opset_import[0].version = 999
    (HERE / "later.onnx").write_bytes(later.SerializeToString())


def detector() -> None:
    """As torchvision's detectors are exported: one image, of any size. It finds the whole of it, where that is bright."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [3, "height", "width"])
    found = [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["found", 4]),
             helper.make_tensor_value_info("labels", TensorProto.INT64, ["found"]),
             helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["found"])]
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
             helper.make_node("Unsqueeze", ["mean", "first"], ["score"]),
             helper.make_node("Greater", ["score", "half"], ["bright"]),
             helper.make_node("Shape", ["image"], ["shape"]),
             helper.make_node("Gather", ["shape", "width_and_height"], ["far"]),
             helper.make_node("Cast", ["far"], ["far_corner"], to=TensorProto.FLOAT),
             helper.make_node("Concat", ["near_corner", "far_corner"], ["corners"], axis=0),
             helper.make_node("Unsqueeze", ["corners", "first"], ["box"]),
             helper.make_node("Compress", ["box", "bright"], ["boxes"], axis=0),
             helper.make_node("Compress", ["label", "bright"], ["labels"], axis=0),
             helper.make_node("Compress", ["score", "bright"], ["scores"], axis=0)]
    weights = {"first": np.array([0], np.int64), "half": np.array([0.5], np.float32), "label": np.array([1], np.int64),
               "width_and_height": np.array([2, 1], np.int64), "near_corner": np.zeros(2, np.float32)}
    made = helper.make_graph(nodes, "detector", [image], found,
                             [numpy_helper.from_array(array, name) for name, array in weights.items()])
    model = helper.make_model(made, ir_version=IR, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="marserve")
    onnx.checker.check_model(model, full_check=True)
    (HERE / "detector.onnx").write_bytes(model.SerializeToString())


def main() -> None:
    table = Table()
    detector()
    for make in (identities, arithmetic, vision, shapes, smaller, others):
        make(table)
    versions = {"numpy": np.__version__, "onnx": onnx.__version__, "onnxruntime": ort.__version__}
    text = json.dumps({"versions": versions, "networks": table.networks}, indent=1, ensure_ascii=False)
    (HERE / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
