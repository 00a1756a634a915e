#!/usr/bin/env python3
"""Has gRPC's own tools ask: health checks, reflection, and stubs made by protoc from TorchServe's services.

usage: grpc_stubs.py

The stubs are made at each run from crates/proto/proto, by grpcio-tools. Takes the programs that MARSERVE and MAR name,
else the release build.
"""

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import grpc
from google.protobuf import empty_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

import repository
from checks import holds, raised, run, same, true
from repository import ROOT, SCENE, served

PROTOS = ROOT / "crates/proto/proto"
OIP = "inference.GRPCInferenceService"
INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
MANAGEMENT = "org.pytorch.serve.grpc.management.ManagementAPIsService"


def stubs(folder):
    """The modules of both services: messages and stubs."""
    names = ["torchserve_inference", "torchserve_management"]
    google = ["google/rpc/status.proto"] if (PROTOS / "google/rpc/status.proto").exists() else []
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTOS}", f"-I{well_known}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    same("protoc", protoc.main([*arguments, *(f"{name}.proto" for name in names), *google]), 0)
    sys.path.insert(0, folder)
    if google:  # beside the packages of the same name that are installed
        import google as package
        package.__path__.append(str(Path(folder, "google")))
    return [import_module(f"{name}_{kind}") for name in names for kind in ("pb2", "pb2_grpc")]


def refused(code, words, call, *arguments):
    error = raised(f"{words}", grpc.RpcError, call, *arguments)
    same(f"code of {error.details()}", error.code().name, code)
    holds("details", error.details(), *words)


class TorchServe:
    def __init__(self, server, folder):
        self.server = server
        self.pb, inference, self.manage, management = stubs(folder)
        self.inference = inference.InferenceAPIsServiceStub(grpc.insecure_channel(server.grpc_inference))
        self.management = management.ManagementAPIsServiceStub(grpc.insecure_channel(server.grpc_management))

    def request(self, model="scenes", picture=SCENE, **named):
        return self.pb.PredictionsRequest(model_name=model, input={"data": picture}, **named)

    def predictions(self):
        stub = self.inference
        same("health", json.loads(stub.Ping(empty_pb2.Empty()).health), {"status": "Healthy"})
        expected = repository.predict(self.server, "scenes", SCENE)
        for named in ({}, {"model_version": "1.0"}):
            same("prediction", json.loads(stub.Predictions(self.request(**named)).prediction), json.loads(expected))
        parts = [one.prediction for one in stub.StreamPredictions(self.request())]
        same("stream", json.loads(b"".join(parts)), json.loads(expected))
        for model in ("nobody", ""):
            refused("INTERNAL", [model], stub.Predictions, self.request(model))
        refused("INTERNAL", ["9.0"], stub.Predictions, self.request(model_version="9.0"))
        refused("INVALID_ARGUMENT", [], stub.Predictions, self.request(picture=b"no picture"))
        refused("INTERNAL", ["nobody"], lambda: list(stub.StreamPredictions(self.request("nobody"))))

    def sequences(self):
        """A stream of requests is answered in order; one that fails is answered with a status, and the rest goes on."""
        pictures = [repository.noise(seed)[0] for seed in range(4)]
        pictures[2] = b"no picture"
        requests = (self.request(picture=picture, sequence_id="s") for picture in pictures)
        answers = list(self.inference.StreamPredictions2(requests))
        same("answers", len(answers), 4)
        for number, (picture, answer) in enumerate(zip(pictures, answers)):
            same("sequence", answer.sequence_id, "s")
            if number == 2:
                same("status", answer.status.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])
            else:
                same(f"answer {number}", json.loads(answer.prediction), json.loads(repository.predict(self.server, "scenes", picture)))

    def life_cycle(self):
        """A model is registered, scaled, described, chosen and unregistered, and so are its versions."""
        stub, make = self.management, self.manage
        names = lambda: [one["modelName"] for one in json.loads(stub.ListModels(make.ListModelsRequest(limit=100)).msg)["models"]]
        describe = lambda **of: json.loads(stub.DescribeModel(make.DescribeModelRequest(**of)).msg)
        true("listed", "scenes" in names())
        told = stub.RegisterModel(make.RegisterModelRequest(
            url="scenes.mar", model_name="again", initial_workers=1, batch_size=2, max_batch_delay=5, synchronous=True)).msg
        holds("registered", told, "again")
        told = describe(model_name="again")
        same("described", (told[0]["modelName"], told[0]["modelVersion"], told[0]["batchSize"], told[0]["maxBatchDelay"]),
             ("again", "1.0", 2, 5))
        same("as over REST", told[0]["modelUrl"], self.server.describe("again")["modelUrl"])
        expected = repository.predict(self.server, "scenes", SCENE)
        same("serves", json.loads(self.inference.Predictions(self.request("again")).prediction), json.loads(expected))
        stub.ScaleWorker(make.ScaleWorkerRequest(model_name="again", min_worker=2, max_worker=2, synchronous=True))
        same("scaled", describe(model_name="again")[0]["minWorkers"], 2)
        holds("default", stub.SetDefault(make.SetDefaultRequest(model_name="again", model_version="1.0")).msg, "again")
        same("all versions", len(describe(model_name="again", model_version="all")), 1)
        holds("unregistered", stub.UnregisterModel(make.UnregisterModelRequest(model_name="again")).msg, "again")
        true("gone", "again" not in names())
        for code, words, call, message in (
            ("NOT_FOUND", ["nobody"], stub.DescribeModel, make.DescribeModelRequest(model_name="nobody")),
            ("NOT_FOUND", ["nobody"], stub.ScaleWorker, make.ScaleWorkerRequest(model_name="nobody", min_worker=1)),
            ("NOT_FOUND", ["nobody"], stub.UnregisterModel, make.UnregisterModelRequest(model_name="nobody")),
            ("NOT_FOUND", ["9.0"], stub.SetDefault, make.SetDefaultRequest(model_name="scenes", model_version="9.0")),
            ("NOT_FOUND", ["nobody"], stub.RegisterModel, make.RegisterModelRequest(url="nobody.mar")),
        ):
            refused(code, words, call, message)


def health(address):
    stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(address))
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", OIP):
        same(f"health of {service!r}", stub.Check(health_pb2.HealthCheckRequest(service=service)).status, serving)
    refused("NOT_FOUND", [], stub.Check, health_pb2.HealthCheckRequest(service="nobody.Service"))
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    same("watched", next(watch).status, serving)
    watch.cancel()


def health_at_the_end(server, address):
    """Whoever watches is told when the server begins to end."""
    watch = health_pb2_grpc.HealthStub(grpc.insecure_channel(address)).Watch(health_pb2.HealthCheckRequest())
    same("before", next(watch).status, health_pb2.HealthCheckResponse.SERVING)
    server.process.terminate()
    try:
        same("while it ends", next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
    except grpc.RpcError as error:  # over before it was told
        same("while it ends", error.code().name, "UNAVAILABLE")
    same("exit status", server.process.wait(60), 0)


def reflection(address, *services):
    database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(address))
    found = database.get_services()
    same("services left out", [one for one in services if one not in found], [])
    pool = DescriptorPool(database)
    for service in services:
        described = pool.FindServiceByName(service)
        true(f"methods of {service}", len(described.methods) >= 4, f"{[one.name for one in described.methods]}")
    if OIP in services:
        message = pool.FindMessageTypeByName("inference.ModelInferRequest")
        same("field", message.fields_by_name["raw_input_contents"].number, 7)


def main() -> int:
    with tempfile.TemporaryDirectory() as made:
        with served("--enable-model-api") as server:
            torchserve = TorchServe(server, made)
            ports = {"Triton's": server.grpc, "inference": server.grpc_inference, "management": server.grpc_management}
            checks = [(f"health, {name}", lambda at=at: health(at)) for name, at in ports.items()]
            checks += [
                ("reflection, Triton's", lambda: reflection(server.grpc, OIP)),
                ("reflection, inference", lambda: reflection(server.grpc_inference, OIP, INFERENCE)),
                ("reflection, management", lambda: reflection(server.grpc_management, MANAGEMENT)),
                ("predictions", torchserve.predictions), ("sequences", torchserve.sequences),
                ("life cycle", torchserve.life_cycle), ("health at the end", lambda: health_at_the_end(server, server.grpc)),
            ]
            return run(checks)


if __name__ == "__main__":
    sys.exit(main())
