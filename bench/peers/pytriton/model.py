"""A model of Triton's Python backend. By its name it is a step of the ensemble that serves images, or all of a job:

    pixels   an image file's bytes to the network's input
    network  the network's input to the answer
"""

import json
import os

import numpy as np
import triton_python_backend_utils as triton
from work import Work


class TritonPythonModel:
    def initialize(self, args):
        self.work = Work.read(os.environ["BENCH_JOB"])
        self.answer = self.prepare if args["model_name"] == "pixels" else self.infer
        if self.answer == self.infer:
            self.session = self.work.session(int(os.environ["BENCH_THREADS"]))

    def execute(self, requests):
        return [triton.InferenceResponse([tensor]) for tensor in self.answer(requests)]

    def prepare(self, requests):
        for request in requests:
            [image] = triton.get_input_tensor_by_name(request, "image").as_numpy().ravel()
            yield triton.Tensor("pixels", self.work.prepare(image)[None])

    def infer(self, requests):
        # Each request has a batch of one, as all the bench's have.
        tensors = [triton.get_input_tensor_by_name(request, self.work.input).as_numpy()[0] for request in requests]
        for scores in self.work.run(self.session, tensors):
            yield triton.Tensor("answer", self.written(scores))

    def written(self, scores):
        """In the type that Triton's users would take: numbers, a mask's classes as UINT8, a file or JSON as BYTES."""
        spec = self.work.spec
        if spec["answer"] == "numbers":
            return scores.reshape(1, -1)
        if spec["answer"] == "mask" and spec["reply"] == "json":
            return scores.argmax(0).astype(np.uint8)[None]
        reply = self.work.finish(scores)
        return np.array([[reply if isinstance(reply, bytes) else json.dumps(reply).encode()]], np.object_)
