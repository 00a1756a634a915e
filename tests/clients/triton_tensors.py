"""Checks of tensors that hold for each of Triton's clients: what is sent comes back, as numbers that numpy computes."""

import io
import json

import ml_dtypes
import numpy as np
from PIL import Image
from tritonclient.utils import InferenceServerException

import repository
from checks import holds, raised, same, true
from repository import DTYPES, NETWORKS, SCENE

TOLD = json.loads((NETWORKS / "expected.json").read_text(encoding="utf-8"))["networks"]


def edges(name):
    """Two rows of four values of a type, the outermost among them."""
    told = TOLD[f"identity_{name}"]["cases"][0]["inputs"]["INPUT0"]
    raw = bytes.fromhex(told["hex"])
    if name == "string":
        return np.array([text.encode() for text in told["data"]], dtype=object).reshape(told["shape"])
    dtype = ml_dtypes.bfloat16 if name == "bf16" else DTYPES[told["datatype"]]
    return np.frombuffer(raw, dtype).reshape(told["shape"])


def every_type(face, server):
    for name in [*map(str.lower, DTYPES), "bf16", "string"]:
        values = edges(name)
        answer = face.infer(f"identity_{name}", {"INPUT0": values})
        same(f"{name}, binary", answer.as_numpy("OUTPUT0"), values)
        same(f"{name}, datatype", face.meta(answer)["outputs"][0]["datatype"], "BYTES" if name == "string" else name.upper())
        same(f"{name}, shape", face.meta(answer)["outputs"][0]["shape"], [2, 4])


def as_json(face, server):
    """Numbers and texts as JSON, either way and both; numbers that JSON has no word for as well."""
    if face.protocol != "http":
        return typed_contents(face)
    for name in [*map(str.lower, DTYPES), "string"]:
        values = edges(name)
        if name == "fp16":
            continue  # has no form in JSON
        for sent, asked in ((True, False), (False, True), (False, False)):
            tensor = face.input("INPUT0", values, binary_data=sent)
            got = face.answer(f"identity_{name}", {"INPUT0": tensor}, "OUTPUT0",
                              outputs=[face.output("OUTPUT0", binary_data=asked)])
            if name == "string" and not asked:
                got = np.array([text.encode() for text in got.reshape(-1)], dtype=object).reshape(got.shape)
            if values.dtype.kind == "f":  # the bits of what is no number are not in the word NaN
                true(f"{name}, JSON {sent} {asked}", got.dtype == values.dtype and
                     np.array_equal(got, values, equal_nan=True), f"{got}")
            else:
                same(f"{name}, JSON {sent} {asked}", got, values)


def typed_contents(face):
    """gRPC's twin of JSON: the fields of numbers in place of bytes, as stubs without Triton's library send them."""
    fields = {
        "bool": "bool_contents", "int8": "int_contents", "int16": "int_contents", "int32": "int_contents",
        "int64": "int64_contents", "uint8": "uint_contents", "uint16": "uint_contents", "uint32": "uint_contents",
        "uint64": "uint64_contents", "fp32": "fp32_contents", "fp64": "fp64_contents", "string": "bytes_contents",
    }
    pb = face.library.service_pb2
    for name, field in fields.items():
        values = edges(name)
        request = pb.ModelInferRequest(model_name=f"identity_{name}")
        tensor = request.inputs.add(name="INPUT0", datatype="BYTES" if name == "string" else name.upper(), shape=values.shape)
        getattr(tensor.contents, field).extend(values.reshape(-1).tolist())
        call = face.client._client_stub.ModelInfer(request)
        answer = face.loop.run_until_complete(call) if face.loop else call
        same(f"{name}, outputs of bytes", len(answer.raw_output_contents), 1)
        same(f"{name}, typed", face.library.InferResult(answer).as_numpy("OUTPUT0"), values)


def outputs_by_name(face, server):
    first, second = np.arange(48, dtype=np.int32).reshape(3, 16), np.full((3, 16), 5, np.int32)
    inputs = {"INPUT1": second, "INPUT0": first}  # not in the network's order
    for version in ("", "1"):
        answer = face.infer("simple", inputs, model_version=version)
        same("sum", answer.as_numpy("OUTPUT0"), first + second)
        same("difference", answer.as_numpy("OUTPUT1"), first - second)
        told = face.meta(answer)
        same("model", told["model_name"], "simple")
        same("version", told["model_version"], "1")
        same("outputs", [one["name"] for one in told["outputs"]], ["OUTPUT0", "OUTPUT1"])
    answer = face.infer("simple", inputs, ["OUTPUT1"])
    same("the one asked for", answer.as_numpy("OUTPUT1"), first - second)
    true("the other", answer.as_numpy("OUTPUT0") is None)
    words = lambda numbers: np.char.encode(numbers.astype(str)).astype(object)
    got = face.answer("simple_string", {"INPUT0": words(first), "INPUT1": words(second)}, "OUTPUT0")
    same("texts", got, words(first + second))


def classes(face, server):
    levels, pixels = repository.picture(3)
    scores = face.answer("classifier", {"input": pixels}, "output")
    true("scores", scores.shape == (3, 1000) and scores.dtype == np.float32, f"{scores.shape} {scores.dtype}")
    expected = levels @ repository.matrix(TOLD["classifier"])
    true("scores", np.abs(scores - expected).max() < 1e-3, f"{np.abs(scores - expected).max()} off")
    got = face.answer("classifier", {"input": pixels}, "output", outputs=[face.output("output", class_count=4)])
    same("shape", got.shape, (3, 4))
    for row, found in zip(scores, got):
        best = np.argsort(-row)[:4]
        same("classes", [text.decode() for text in found], [f"{row[at]:f}:{at}:kind {at}" for at in best])


def identity_and_parameters(face, server):
    one = {"INPUT0": np.ones((1, 2), np.float32)}
    same("id", face.meta(face.infer("identity_fp32", one, request_id="röd 7"))["id"], "röd 7")
    true("no id", not face.meta(face.infer("identity_fp32", one)).get("id"))
    rounds = {"rounds": np.array([[3]], np.int64)}
    for named in ({"priority": 1}, {"priority": 99}, {"timeout": 60_000_000},
                  {"parameters": {"colour": "red", "depth": 3, "deep": True, "ratio": 0.5}}):
        same(f"{named}", face.answer("busy", rounds, "done", **named), rounds["rounds"])


def compression(face, server):
    values = np.arange(30_000, dtype=np.int32).reshape(3, -1)
    for pair in face.pairs:
        got = face.answer("identity_int32", {"INPUT0": values}, "OUTPUT0", **face.compressed(pair))
        same(f"{pair}", got, values)
        if face.protocol == "http":
            got = face.answer("identity_int32", {"INPUT0": face.input("INPUT0", values, binary_data=False)}, "OUTPUT0",
                              outputs=[face.output("OUTPUT0", binary_data=False)], **face.compressed(pair))
            same(f"{pair}, JSON", got, values)


def nothing_and_much(face, server):
    for shape in ((0, 3), (2, 0)):
        empty = np.empty(shape, np.float32)
        same(f"{shape}", face.answer("plain", {"INPUT0": empty}, "OUTPUT0"), empty)
    much = repository.fixed_seed().random((1, 10_000_000), np.float32)
    same("40 MB", face.answer("identity_fp32", {"INPUT0": much}, "OUTPUT0"), much)


def handler(face, server):
    """`scenes` is the archive's network, `scenes@handler` its handler: the mask of a file's bytes."""
    files, tensors = zip(*(repository.noise(seed) for seed in range(3)))
    told = face.told("get_model_metadata", "scenes@handler")
    same("inputs", told["inputs"], [{"name": "data", "datatype": "BYTES", "shape": [-1, 1]}])
    same("outputs", told["outputs"], [{"name": "output", "datatype": "BYTES", "shape": [-1, 1]}])
    for shape in ((3, 1), (3,)):
        sent = np.array(files, dtype=object).reshape(shape)
        got = face.answer("scenes@handler", {"data": sent}, "output")
        same("shape", got.shape, shape)
        for file, body in zip(files, got.reshape(-1)):
            same("JSON", json.loads(body), json.loads(repository.predict(server, "scenes", file)))
    sent = np.array([[SCENE]], dtype=object)
    png = face.answer("scenes@handler", {"data": sent}, "output", parameters={"format": "png"})[0, 0]
    same("PNG", png, repository.predict(server, "scenes?format=png", SCENE))
    same("kind", Image.open(io.BytesIO(png)).format, "PNG")
    # The network on the tensor that the handler would have made: its best class of each pixel is the mask.
    for file, tensor in zip(files, tensors):
        answer = face.infer("scenes", {told_input(face): tensor})
        logits = answer.as_numpy(face.meta(answer)["outputs"][0]["name"])
        true("logits", logits.shape[:2] == (1, 7) and logits.dtype == np.float32, f"{logits.shape} {logits.dtype}")
        found = repository.mask(json.loads(repository.predict(server, "scenes", file)))
        agree = (logits[0].argmax(axis=0) == found).mean()
        true("mask of the network", agree > 0.999, f"agrees in {agree}")
    error = raised("no picture", InferenceServerException, face.infer, "scenes@handler",
                   {"data": np.array([[SCENE], [b"no picture"]], dtype=object)})
    holds("no picture", error.message(), "element 1")


def told_input(face):
    inputs = face.told("get_model_metadata", "scenes").get("inputs", [])
    return inputs[0]["name"] if inputs else "input__0"


def refusals(face, server):
    """The kind of the error, its status and what it names; the server answers the next request all the same."""
    pixels = repository.picture()[1]
    whole = np.zeros((1, 16), np.int32)
    pair = {"INPUT0": whole, "INPUT1": whole}
    bad = "400", "StatusCode.INVALID_ARGUMENT"
    missing = "404", "StatusCode.NOT_FOUND"
    for what, model, inputs, named, status, words in (
        ("unknown model", "nobody", pair, {}, missing, ["Request for unknown model", "nobody"]),
        ("unknown version", "simple", pair, {"model_version": "7"}, missing, ["Request for unknown model", "7"]),
        ("shape", "classifier", {"input": pixels[:, :, :10]}, {}, bad, ["input", "shape", "10"]),
        ("rank", "classifier", {"input": pixels[0]}, {}, bad, ["input", "shape"]),
        ("type", "classifier", {"input": pixels.astype(np.float64)}, {}, bad, ["input", "FP64", "FP32"]),
        ("rows", "classifier", {"input": np.repeat(pixels, 9, 0)}, {}, bad, ["9", "8"]),
        ("input", "simple", {**pair, "INPUT2": whole}, {}, bad, ["INPUT2"]),
        ("input left out", "simple", {"INPUT0": whole}, {}, bad, ["INPUT1"]),
        ("output", "simple", pair, {"outputs": ["OUTPUT7"]}, bad, ["OUTPUT7"]),
        ("rows that differ", "simple", {"INPUT0": whole, "INPUT1": np.zeros((2, 16), np.int32)}, {}, bad, ["INPUT"]),
    ):
        error = raised(what, InferenceServerException, face.infer, model, inputs, request_id="no. 9", **named)
        same(f"{what}: status", error.status(), status[face.protocol == "grpc"])
        holds(what, error.message(), *words)
    same("the next one", face.answer("simple", pair, "OUTPUT0"), whole)


ALL = [every_type, as_json, outputs_by_name, classes, identity_and_parameters, compression, nothing_and_much, handler, refusals]
