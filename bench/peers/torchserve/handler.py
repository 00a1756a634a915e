"""TorchServe's side of a job: a handler of the form that its users write, with the work that all Python servers share.

`model-config.yaml` tells it which file has the job, and whether the module is frozen first.
"""

import json
import logging

import numpy as np
import torch
from work import Work


class BenchHandler:
    def initialize(self, context):
        # A line a request, and the figures that go through the log, are left out: nobody reads them here.
        logging.getLogger().setLevel(logging.WARNING)
        told = context.model_yaml_config["handler"]
        self.work = Work.read(told["job"])
        torch.set_num_threads(told["threads"])
        if self.work.spec["form"] == "onnx":
            session = self.work.session(told["threads"])
            self.network = lambda tensors: torch.from_numpy(self.work.run(session, tensors))
            return
        module = torch.jit.load(self.work.weights, map_location="cpu").eval()
        if told["frozen"]:
            module = torch.jit.optimize_for_inference(torch.jit.freeze(module))
        self.network = lambda tensors: module(torch.from_numpy(np.stack(tensors)))

    def handle(self, data, context):
        tensors = [self.work.prepare(row.get("data") or row.get("body")) for row in data]
        with torch.inference_mode():
            scores = self.network(tensors)
            if self.work.spec["answer"] == "mask":
                return [self.reply(self.work.mask(classes)) for classes in scores.argmax(1).to(torch.uint8).numpy()]
        return [self.reply(self.work.finish(row)) for row in scores.numpy()]

    @staticmethod
    def reply(told):
        """Bytes as they are, else compact JSON: TorchServe's own is indented, which takes Python's slow encoder."""
        return told if isinstance(told, bytes) else json.dumps(told).encode()
