"""MLServer, with a runtime of the bench's own: it brings none for ONNX or images."""

import base64
import json
from pathlib import Path

import answers
import pools
from peer import Command, Peer, Request

NAME = "served"


class MlServer(Peer):
    title = "MLServer"
    ports = 3

    def packages(self):
        return ["mlserver", "fastapi", "uvicorn", "uvloop", "httptools", "orjson", "pydantic", "onnxruntime", "pillow", "numpy"]

    def cannot(self, job):
        if not job.is_image() and job.input.wire == "v2":
            return "has no binary tensors over HTTP"
        return None

    def command(self, job, setting, place):
        http, grpc, metrics = place.ports
        place.write("settings.json", json.dumps({
            "debug": False, "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "metrics_endpoint": None,
            "parallel_workers": 0, "gzip_enabled": False, "cache_enabled": False}))
        place.write("model-settings.json", json.dumps({"name": NAME, "implementation": "runtime.Served"}))
        environment = pools.environment(self.spec(job, place), setting)
        environment["PYTHONPATH"] = f"{Path(pools.__file__).parent}:{self.folder}"
        return Command([str(self.python().parent / "mlserver"), "start", str(place.folder)], environment)

    def request(self, job):
        if job.is_image() or job.input.wire == "bytes":
            tensor = {"name": job.network.input, "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"},
                      "data": [base64.b64encode(job.body()).decode("ascii")]}
        else:
            tensor = {"name": job.network.input, "shape": [1, *job.input.shape], "datatype": "FP32", "data": list(job.input.values())}
        return Request(f"/v2/models/{NAME}/infer", json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"})

    def answer(self, job, headers, body):
        [output] = json.loads(body)["outputs"]
        if job.answer == "numbers":
            return answers.numbers(output["data"])
        if job.answer == "classes":
            return answers.standard(job, output["data"][0])
        data = base64.b64decode(output["data"][0])
        if job.reply == "png":
            return answers.standard(job, data)
        height, width = output["shape"][-2:]
        return answers.Mask(height, width, data)

    def configuration(self, job, setting):
        sent = "base64" if job.is_image() or job.input.wire == "bytes" else "JSON"
        return (f"parallel_workers 0 (the runtime in the server's process), no gzip, no access log, no metrics, uvloop, httptools, orjson; "
                f"{sent} in v2 JSON; {pools.told(job, setting)}; no batching")


PEERS = [MlServer(Path(__file__).parent)]
