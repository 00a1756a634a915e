#!/usr/bin/env python3
"""Has the clients of KServe's SDK ask over REST, with both versions of its protocol, and over gRPC.

usage: kserve_sdk.py

In a process of its own: its gRPC messages have the names of those in Triton's client. Takes the programs that MARSERVE
and MAR name, else the release build.
"""

import asyncio
import base64
import logging
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput

import repository
from checks import holds, run, same, true
from repository import DTYPES, SCENE, served

logging.getLogger("kserve").setLevel(logging.CRITICAL)  # it logs each refusal, and here they are meant
SUM = np.arange(16, dtype=np.int32)[None], np.full((1, 16), 5, np.int32)


def tensor(name, values, datatype, **how):
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, **how)
    return made


def request(model, inputs, **named):
    return InferRequest(model, inputs, **named)


def samples():
    """Two rows of a type, its outermost values among them."""
    draw = repository.fixed_seed()
    for datatype, dtype in DTYPES.items():
        if dtype is np.bool_:
            values = draw.random((2, 3)) > 0.5
        elif datatype.startswith("FP"):
            values = draw.normal(size=(2, 3)).astype(dtype)
        else:
            info = np.iinfo(dtype)
            values = np.array([[info.min, info.max, 1], [0, 2, 3]], dtype)
        yield datatype, f"identity_{datatype.lower()}", values
    yield "BYTES", "identity_string", np.array([["ein", "Wörtchen".encode()], [b"", b"x" * 300]], dtype=object)


def expect(answer, values):
    got = answer.outputs[0].as_numpy()
    if values.dtype == object:
        same("texts", [bytes_of(one) for one in got.reshape(-1)], [bytes_of(one) for one in values.reshape(-1)])
    else:
        same("values", got, values)


def bytes_of(one):
    return one if isinstance(one, bytes) else one.encode()


async def rest_v2(url):
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        same("live", await client.is_server_live(url), True)
        same("ready", await client.is_server_ready(url), True)
        for model, ready in (("simple", True), ("scenes", True), ("scenes@handler", True), ("nobody", False)):
            same(f"{model} ready", await client.is_model_ready(url, model), ready)
        for datatype, model, values in samples():
            for binary in (True, False):
                if datatype == "FP16" and not binary:
                    continue
                asked = [RequestedOutput("OUTPUT0", {"binary_data": binary})]
                sent = request(model, [tensor("INPUT0", values, datatype, binary_data=binary)], request_outputs=asked)
                answer = await client.infer(url, sent, model_name=model)
                expect(answer, values)
                same("model", (answer.model_name, answer.outputs[0].name, answer.outputs[0].datatype), (model, "OUTPUT0", datatype))
        pair = [tensor("INPUT0", SUM[0], "INT32"), tensor("INPUT1", SUM[1], "INT32", binary_data=False)]
        answer = await client.infer(url, request("simple", pair, request_id="x1"), model_name="simple")
        same("id", answer.id, "x1")
        same("sum", answer.outputs[0].as_numpy(), SUM[0] + SUM[1])
        error = await refused(httpx.HTTPStatusError, client.infer(url, request("simple", pair[:1]), model_name="simple"))
        same("status", error.response.status_code, 400)
        holds("error", error, "INPUT1")
        error = await refused(httpx.HTTPStatusError, client.infer(url, request("nobody", pair), model_name="nobody"))
        same("status", error.response.status_code, 404)
        holds("error", error, "nobody")
        picture = tensor("data", np.array([[SCENE]], dtype=object), "BYTES")
        answer = await client.infer(url, request("scenes@handler", [picture]), model_name="scenes@handler")
        return bytes_of(answer.outputs[0].as_numpy()[0, 0])


async def rest_v1(url, server):
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        same("live", await client.is_server_live(url), True)
        same("ready", await client.is_model_ready(url, "scenes"), True)
        encoded = {"b64": base64.b64encode(SCENE).decode()}
        answer = await client.infer(url, {"instances": [encoded, encoded]}, model_name="scenes")
        masks = [repository.mask(one) for one in answer["predictions"]]
        same("masks", len(masks), 2)
        expected = repository.predict(server, "scenes?format=raw", SCENE)
        for mask in masks:
            same("mask", mask.tobytes(), expected)
        # A network without a handler takes its tensors.
        rows = [{"INPUT0": SUM[0][0].tolist(), "INPUT1": SUM[1][0].tolist()}] * 2
        answer = await client.infer(url, {"instances": rows}, model_name="simple")
        row = {"OUTPUT0": (SUM[0] + SUM[1])[0].tolist(), "OUTPUT1": (SUM[0] - SUM[1])[0].tolist()}
        same("rows", answer, {"predictions": [row, row]})
        columns = {name: value.tolist() for name, value in (("INPUT0", SUM[0]), ("INPUT1", SUM[1]))}
        answer = await client.infer(url, {"inputs": columns}, model_name="simple")
        same("columns", answer, {"outputs": {name: [values] for name, values in row.items()}})
        answer = await client.infer(url, {"instances": [[1.5, 2.0], [3.0, 4.25]]}, model_name="identity_fp32")
        same("one input, one output", answer, {"predictions": [[1.5, 2.0], [3.0, 4.25]]})
        error = await refused(httpx.HTTPStatusError, client.infer(url, {"instances": [], "inputs": []}, model_name="simple"))
        same("status", error.response.status_code, 400)
        error = await refused(httpx.HTTPStatusError, client.infer(url, {"instances": rows}, model_name="nobody"))
        same("status", error.response.status_code, 404)


async def over_grpc(url):
    async with InferenceGRPCClient(url) as client:
        same("live", await client.is_server_live(), True)
        same("ready", await client.is_server_ready(), True)
        same("model ready", await client.is_model_ready("simple"), True)
        for datatype, model, values in samples():
            answer = await client.infer(request(model, [tensor("INPUT0", values, datatype)]))
            expect(answer, values)
        pair = [InferInput(name, [1, 16], "INT32", data=values[0].tolist()) for name, values in (("INPUT0", SUM[0]), ("INPUT1", SUM[1]))]
        answer = await client.infer(request("simple", pair, request_id="g1"))  # the fields of numbers
        same("sum", answer.outputs[0].as_numpy(), SUM[0] + SUM[1])
        same("id", answer.id, "g1")
        for model, inputs, code in (("nobody", pair, "NOT_FOUND"), ("simple", pair[:1], "INVALID_ARGUMENT")):
            error = await refused(grpc.RpcError, client.infer(request(model, inputs)))
            same("code", error.code().name, code)


async def control(url):
    """KServe's own numbers of the fields differ from Triton's; both have to be understood."""
    channel = grpc.aio.insecure_channel(url)
    stub = GRPCInferenceServiceStub(channel)
    same("loaded", (await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="add_fp32"))).isLoaded, True)
    same("ready", (await stub.ModelReady(pb.ModelReadyRequest(name="add_fp32"))).ready, True)
    same("unloaded", (await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="add_fp32"))).isUnloaded, True)
    await channel.close()


async def refused(kind, answer):
    try:
        got = await answer
    except kind as error:
        return error
    raise ValueError(f"answered with {got}, not refused")


def main() -> int:
    with served() as server:
        both = (f"http://{server.http}", "Triton's port"), (server.inference, "the inference port")

        def v2(url):
            body = asyncio.run(rest_v2(url))
            true("the handler's answer", body == repository.predict(server, "scenes", SCENE))

        checks = [(f"REST v2, {name}", lambda url=url: v2(url)) for url, name in both]
        checks += [(f"REST v1, {name}", lambda url=url: asyncio.run(rest_v1(url, server))) for url, name in both]
        checks += [("gRPC, Triton's port", lambda: asyncio.run(over_grpc(server.grpc)))]
        checks += [("gRPC, TorchServe's port", lambda: asyncio.run(over_grpc(server.grpc_inference)))]
        status = run(checks)
    with served("--model-control-mode", "explicit", "--load-model", "simple") as server:
        return status | run([("gRPC, loading", lambda: asyncio.run(control(server.grpc)))])


if __name__ == "__main__":
    sys.exit(main())
