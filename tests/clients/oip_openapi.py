#!/usr/bin/env python3
"""Has the client that is generated from the Open Inference Protocol's description make all its calls.

usage: oip_openapi.py

open-inference-openapi, waiting and asynchronous: it refuses what is not of the description's form. Takes the programs
that MARSERVE and MAR name, else the release build.
"""

import asyncio
import inspect
import sys

from open_inference.openapi.client import AsyncOpenInferenceClient, OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.errors import BadRequestError
from open_inference.openapi.types import InferenceRequest, RequestInput, RequestOutput, TensorData

from checks import holds, run, same, true
from repository import served


def tensor(name, numbers, shape=(2, 2), datatype="FP32"):
    return RequestInput(name=name, shape=list(shape), datatype=datatype, data=TensorData.parse_obj(numbers))


def question(*inputs, **named):
    return InferenceRequest(inputs=list(inputs), **named)


def every_call(ask):
    ask("check_server_liveness")
    ask("check_server_readiness")
    ask("check_model_readiness", "identity_fp32")
    ask("check_model_version_readiness", "identity_fp32", "1")
    told = ask("read_server_metadata")
    true("name and version", told.name and told.version)
    true("extensions", "binary_tensor_data" in told.extensions, f"{told.extensions}")
    for told in (ask("read_model_metadata", "identity_fp32"), ask("read_model_version_metadata", "identity_fp32", "1")):
        same("model", (told.name, told.versions, told.platform), ("identity_fp32", ["1"], "onnxruntime_onnx"))
        same("inputs", [(one.name, one.datatype, one.shape) for one in told.inputs], [("INPUT0", "FP32", [-1, -1])])
        same("outputs", [(one.name, one.datatype, one.shape) for one in told.outputs], [("OUTPUT0", "FP32", [-1, -1])])
    archive = ask("read_model_metadata", "scenes")
    holds("the other form of an archive", archive.properties, "scenes@handler")

    flat, nested = [1.5, -2.0, 3.25, 1e10], [[1.5, -2.0], [3.25, 1e10]]
    for numbers in (flat, nested):
        for named in ({}, {"model_version": "1"}):
            call = "model_version_infer" if named else "model_infer"
            answer = ask(call, "identity_fp32", **named, request=question(tensor("INPUT0", numbers), id="7", outputs=[RequestOutput(name="OUTPUT0")]))
            same("answer", (answer.model_name, answer.model_version, answer.id), ("identity_fp32", "1", "7"))
            output = answer.outputs[0]
            same("output", (output.name, output.datatype, output.shape), ("OUTPUT0", "FP32", [2, 2]))
            same("values", output.data.dict()["__root__"], flat)


def refusals(ask):
    one = question(tensor("INPUT0", [1.0, 2.0, 3.0, 4.0]))
    for call, arguments, status, word in (
        ("read_model_metadata", ("nobody",), 404, "nobody"),
        ("check_model_readiness", ("nobody",), 404, ""),
        ("read_model_version_metadata", ("identity_fp32", "9"), 404, "9"),
        ("model_infer", ("nobody", one), 404, "nobody"),
        ("model_infer", ("identity_fp32", question(tensor("INPUT0", [1.0]))), 400, "INPUT0"),
        ("model_infer", ("identity_fp32", question(tensor("other", [1.0, 2.0, 3.0, 4.0]))), 400, "other"),
        ("model_infer", ("identity_fp32", question(tensor("INPUT0", [1.0, 2.0, 3.0, 4.0], datatype="FP31"))), 400, "FP31"),
    ):
        name, *request = arguments
        named = {"request": request[0]} if call == "model_infer" else {}
        try:
            ask(call, *(arguments if not named else [name]), **named)
        except ApiError as error:
            same(f"{call} {name}", error.status_code, status)
            holds(call, error.body, "error", word)
            true("kind", status != 400 or isinstance(error, BadRequestError))
        else:
            raise ValueError(f"{call} {name}: answered, not refused")


def main() -> int:
    with served() as server:
        loop = asyncio.new_event_loop()
        waiting = OpenInferenceClient(base_url=f"http://{server.http}")
        asynchronous = AsyncOpenInferenceClient(base_url=server.inference)

        def ask_of(client):
            def ask(call, *arguments, **named):
                answer = getattr(client, call)(*arguments, **named)
                return loop.run_until_complete(answer) if inspect.isawaitable(answer) else answer
            return ask

        both = (waiting, "Triton's port"), (asynchronous, "the inference port, aio")
        return run([(f"{check.__name__}, {name}", lambda check=check, client=client: check(ask_of(client)))
                    for client, name in both for check in (every_call, refusals)])


if __name__ == "__main__":
    sys.exit(main())
