"""Checks of all but the tensors, for each of Triton's clients: what a server tells of itself and lets be set."""

import json

import numpy as np
import tritonclient.utils.shared_memory as shared
from tritonclient.utils import InferenceServerException

import repository
from checks import holds, raised, same, true
from repository import CONFIGS, COMPLETED

EXTENSIONS = [
    "classification", "model_repository", "schedule_policy", "model_configuration", "system_shared_memory",
    "binary_tensor_data", "parameters", "statistics", "logging",
]
TWIN = "scenes@handler"
KEY = "key-of-the-tests"


def health(face, server):
    for call in ("is_server_live", "is_server_ready"):
        true(call, face.ask(call) is True)
    for model, version in (("simple", ""), ("simple", "1"), ("classifier", "1"), ("scenes", ""), (TWIN, "")):
        true(f"{model} {version} is ready", face.ask("is_model_ready", model, version) is True)
    for model, version in (("nobody", ""), ("simple", "7")):
        true(f"{model} {version} is not ready", face.ask("is_model_ready", model, version) is False)


def metadata(face, server):
    told = face.told("get_server_metadata")
    true("name and version", told["name"] and told["version"], f"{told}")
    same("extensions not told", [one for one in EXTENSIONS if one not in told["extensions"]], [])
    for version in ("", "1"):
        told = face.told("get_model_metadata", "classifier", version)
        same("name", told["name"], "classifier")
        same("versions", told["versions"], ["1"])
        same("platform", told["platform"], "onnxruntime_onnx")
        same("inputs", told["inputs"], [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 224, 224]}])
        same("outputs", told["outputs"], [{"name": "output", "datatype": "FP32", "shape": [-1, 1000]}])
    tensor = lambda name: {"name": name, "datatype": "INT32", "shape": [-1, 16]}
    told = face.told("get_model_metadata", "simple")  # from the file alone
    same("inputs", told["inputs"], [tensor("INPUT0"), tensor("INPUT1")])
    same("outputs", told["outputs"], [tensor("OUTPUT0"), tensor("OUTPUT1")])
    same("platform", told["platform"], "onnxruntime_onnx")
    same("platform of an archive", face.told("get_model_metadata", "scenes")["platform"], "pytorch_libtorch")
    for ask in ("get_model_metadata", "get_model_config"):
        error = raised(ask, InferenceServerException, face.told, ask, "nobody")
        same(ask, error.status(), "404" if face.protocol == "http" else "StatusCode.NOT_FOUND")
        holds(ask, error.message(), "nobody")


def config(face, server):
    told = face.config("classifier")
    port = told["input"][0]
    for key, got, expected in (
        ("name", told["name"], "classifier"), ("backend", told["backend"], "onnxruntime"),
        ("platform", told["platform"], "onnxruntime_onnx"), ("max_batch_size", told["max_batch_size"], 8),
        ("input", (port["name"], port["data_type"], port["dims"]), ("input", "TYPE_FP32", [3, 224, 224])),
        ("output", told["output"][0]["dims"], [1000]), ("labels", told["output"][0]["label_filename"], "labels.txt"),
        ("preferred", told["dynamic_batching"]["preferred_batch_size"], [4, 8]),
        ("delay", told["dynamic_batching"]["max_queue_delay_microseconds"], 500),
        ("instances", [(one["count"], one["kind"]) for one in told["instance_group"]], [(1, "KIND_CPU")]),
        ("file", told["default_model_filename"], "model.onnx"),
    ):
        same(key, got, expected)
    told = face.config("simple")  # completed: what is batchable gets Triton's default
    same("max_batch_size", told["max_batch_size"], 4)
    same("platform and backend", (told["platform"], told["backend"]), ("onnxruntime_onnx", "onnxruntime"))
    true("dynamic_batching", "dynamic_batching" in told)
    same("dims", [one["dims"] for one in told["input"]], [[16], [16]])
    told = face.config("busy")["dynamic_batching"]
    same("priorities", (told["priority_levels"], told["default_priority_level"]), (2, 2))
    same("may override", told["default_queue_policy"]["allow_timeout_override"], True)
    true("no batching", not face.config("plain").get("max_batch_size"))
    same("an archive", face.config("scenes")["name"], "scenes")


def statistics(face, server):
    def told():
        found = face.told("get_inference_statistics", "classifier", "1")["model_stats"]
        same("models", [(one["name"], one["version"]) for one in found], [("classifier", "1")])
        return found[0]

    def number(of, *path):
        for key in path:
            of = of.get(key, {})
        return of or 0

    def batches(of):
        return {one["batch_size"]: number(one, "compute_infer", "count") for one in of.get("batch_stats", [])}

    pixels = repository.picture(3)[1]
    face.infer("classifier", {"input": pixels})
    before = told()
    for _ in range(2):
        face.infer("classifier", {"input": pixels})
    after = told()
    same("rows", number(after, "inference_count") - number(before, "inference_count"), 6)
    same("runs", number(after, "execution_count") - number(before, "execution_count"), 2)
    same("batches", batches(after)[3] - batches(before)[3], 2)
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        count, time = (number(after, "inference_stats", part, of) - number(before, "inference_stats", part, of)
                       for of in ("count", "ns"))
        same(part, count, 2)
        true(part, time > 0 or part not in ("success", "compute_infer"), f"took {time} ns")
    same("failures", number(after, "inference_stats", "fail", "count"), number(before, "inference_stats", "fail", "count"))
    true("time of the last", number(after, "last_inference") >= number(before, "last_inference") > 1_600_000_000_000)
    named = {one["name"] for one in face.told("get_inference_statistics")["model_stats"]}
    same("models left out", [one for one in [*CONFIGS, *COMPLETED, "scenes"] if one not in named], [])


def index(face, server):
    found = {one["name"]: (one.get("version"), one.get("state")) for one in face.index()}
    for name in [*CONFIGS, *COMPLETED]:
        same(name, found.get(name), ("1", "READY"))
    for name in ("scenes", TWIN):
        same(name, found.get(name), ("1.0", "READY"))
    # Nobody said that models may be loaded and unloaded by clients.
    for call in ("load_model", "unload_model"):
        error = raised(call, InferenceServerException, face.ask, call, "simple")
        same(call, error.status(), "503" if face.protocol == "http" else "StatusCode.UNAVAILABLE")
        holds(call, error.message(), "explicit")


def logging_and_trace(face, server):
    told = face.log_settings()
    same("keys", sorted(told), ["log_error", "log_file", "log_format", "log_info", "log_verbose_level", "log_warning"])
    for settings in ({"log_verbose_level": 1}, {"log_verbose_level": 0}, {"log_info": False}, {"log_info": True}):
        told = face.log_settings(settings)
        same("set", {key: told[key] for key in settings}, settings)
        same("read again", face.log_settings(), told)
    for named in ({}, {"model_name": "simple"}):
        told = face.trace_settings(**named)
        same("level", told["trace_level"], ["OFF"])
        same("rate and count", (told["trace_rate"], told["trace_count"]), ("1000", "-1"))
    error = raised("tracing", InferenceServerException, face.ask, "update_trace_settings", settings={"trace_level": ["TIMESTAMPS"]})
    holds("tracing", error.message(), "trace")
    face.ask("update_trace_settings", settings={"trace_level": None})


def shared_memory(face, server):
    """Tensors in memory that both see: no byte of them goes over the connection."""
    first, second = np.arange(16, dtype=np.int32)[None], np.full((1, 16), 7, np.int32)
    size = first.nbytes
    key = f"/marserve_{face.name.replace(' ', '_')}_{server.process.pid}"
    sent = shared.create_shared_memory_region("sent", f"{key}_in", 2 * size)
    back = shared.create_shared_memory_region("back", f"{key}_out", 2 * size)
    try:
        shared.set_shared_memory_region(sent, [first, second])
        face.ask("register_system_shared_memory", "sent", f"{key}_in", 2 * size)
        face.ask("register_system_shared_memory", "back", f"{key}_out", 2 * size)
        told = face.regions()
        same("regions", sorted(told), ["back", "sent"])
        same("region", (told["sent"]["key"], told["sent"]["byte_size"]), (f"{key}_in", 2 * size))
        same("one region", sorted(face.regions(region_name="back")), ["back"])
        inputs = {"INPUT0": face.shared_input("INPUT0", (1, 16), "INT32", "sent", size),
                  "INPUT1": face.shared_input("INPUT1", (1, 16), "INT32", "sent", size, size)}
        outputs = [face.shared_output("OUTPUT0", "back", size), face.shared_output("OUTPUT1", "back", size, size)]
        answer = face.infer("simple", inputs, outputs)
        same("sum", shared.get_contents_as_numpy(back, np.int32, (1, 16)), first + second)
        same("difference", shared.get_contents_as_numpy(back, np.int32, (1, 16), size), first - second)
        told = face.meta(answer)["outputs"][0]
        same("what is told of it", (told["name"], told["datatype"], told["shape"]), ("OUTPUT0", "INT32", [1, 16]))
        mixed = face.infer("simple", {"INPUT0": inputs["INPUT0"], "INPUT1": second}, ["OUTPUT1"])
        same("mixed", mixed.as_numpy("OUTPUT1"), first - second)
        texts(face, key)
        shared_refusals(face, inputs, f"{key}_in", size)
        face.ask("unregister_system_shared_memory", "sent")
        same("one is left", sorted(face.regions()), ["back"])
        face.ask("unregister_system_shared_memory")
        same("none is left", len(face.regions()), 0)
        same("CUDA's", len(face.cuda_regions()), 0)
    finally:
        face.ask("unregister_system_shared_memory")
        shared.destroy_shared_memory_region(sent)
        shared.destroy_shared_memory_region(back)


def texts(face, key):
    words = np.array([["one", "zwei", ""]], dtype=object)
    packed = np.frombuffer(b"".join(len(word.encode()).to_bytes(4, "little") + word.encode() for word in words[0]), np.uint8)
    region = shared.create_shared_memory_region("words", f"{key}_words", packed.nbytes)
    try:
        shared.set_shared_memory_region(region, [packed])
        face.ask("register_system_shared_memory", "words", f"{key}_words", packed.nbytes)
        tensor = face.shared_input("INPUT0", (1, 3), "BYTES", "words", packed.nbytes)
        got = face.answer("identity_string", {"INPUT0": tensor}, "OUTPUT0")
        same("texts", [word.decode() for word in got[0]], words[0].tolist())
        face.ask("unregister_system_shared_memory", "words")
    finally:
        shared.destroy_shared_memory_region(region)


def shared_refusals(face, inputs, key, size):
    register = "register_system_shared_memory"
    other = lambda *where: {**inputs, "INPUT0": face.shared_input("INPUT0", (1, 16), "INT32", *where)}
    for what, call, words in (
        ("registered twice", lambda: face.ask(register, "sent", key, size), ["sent"]),
        ("no such memory", lambda: face.ask(register, "none", "/marserve_none", size), ["marserve_none"]),
        ("past the memory's end", lambda: face.ask(register, "long", key, 1 << 30), [key]),
        ("no such region", lambda: face.infer("simple", other("nobody", size)), ["nobody"]),
        ("past the region's end", lambda: face.infer("simple", other("sent", size, 3 * size)), ["sent"]),
        ("too few bytes", lambda: face.infer("simple", other("sent", size - 4)), ["INPUT0"]),
        ("status of none", lambda: face.regions(region_name="nobody"), ["nobody"]),
    ):
        holds(what, raised(what, InferenceServerException, call).message(), *words)


def control(face, server):
    """Against a server that loads what clients ask for; `simple` is there from the start."""
    ready = lambda name: face.ask("is_model_ready", name)
    states = lambda: {one["name"]: one for one in face.index()}
    one = np.ones((1, 3), np.float32)
    same("before", (ready("simple"), ready("add_fp32")), (True, False))
    true("not loaded", states()["add_fp32"].get("state") != "READY")
    for _ in range(2):  # the second load is a fresh one
        face.ask("load_model", "add_fp32")
        true("loaded", ready("add_fp32"))
        same("sum", face.answer("add_fp32", {"x": one, "y": one}, "sum"), one + one)
        same("state", states()["add_fp32"]["state"], "READY")
    changed = {**face.config("add_fp32"), "max_batch_size": 2, "dynamic_batching": {}}
    face.ask("load_model", "add_fp32", config=json.dumps(changed))
    same("configuration", face.config("add_fp32")["max_batch_size"], 2)
    raised("too many rows", InferenceServerException, face.infer, "add_fp32", {"x": one.repeat(3, 0), "y": one.repeat(3, 0)})
    face.ask("unload_model", "add_fp32")
    raised("unloaded", InferenceServerException, face.infer, "add_fp32", {"x": one, "y": one})
    same("unloaded", ready("add_fp32"), False)
    holds("unload of none", raised("load of none", InferenceServerException, face.ask, "load_model", "nobody").message(), "nobody")
    error = raised("files", InferenceServerException, face.ask, "load_model", "add_fp32",
                   config=json.dumps(changed), files={"file:1/model.onnx": b"none"})
    holds("files", error.message(), "file:1/model.onnx")


def keys(face, server):
    """Against a server that asks for a key, which these clients send as a header or as metadata."""
    right, wrong = {"authorization": f"Bearer {KEY}"}, {"authorization": "Bearer of nothing"}
    values = np.ones((1, 2), np.float32)
    tensor = {"INPUT0": values}
    status = "401" if face.protocol == "http" else "StatusCode.UNAUTHENTICATED"
    for headers in ({}, wrong):
        for call in (lambda: face.infer("identity_fp32", tensor, headers=headers),
                     lambda: face.told("get_server_metadata", headers=headers),
                     lambda: face.ask("unload_model", "identity_fp32", headers=headers)):
            same("status", raised("no key", InferenceServerException, call).status(), status)
        true("probes need no key", face.ask("is_server_ready", headers=headers) is True)
    same("with the key", face.answer("identity_fp32", tensor, "OUTPUT0", headers=right), values)
    face.ask("unload_model", "identity_fp32", headers=right)
    face.ask("load_model", "identity_fp32", headers=right)
    same("after a load", face.answer("identity_fp32", tensor, "OUTPUT0", headers=right), values)


ALL = [health, metadata, config, statistics, index, logging_and_trace, shared_memory]
