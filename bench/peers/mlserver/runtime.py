"""MLServer's runtime of the bench: an image comes as base64 in a BYTES tensor, numbers as FP32 or, where JSON would be
far too long, as base64 as well; it goes out in the type that MLServer's users would take."""

import base64
import json

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput
from pools import Pools


class Served(MLModel):
    async def load(self):
        self.pools = Pools.from_environment()
        return True

    async def predict(self, payload):
        [tensor] = payload.inputs
        data = tensor.data.root
        if tensor.datatype == "BYTES":
            body = base64.b64decode(data[0])
        else:
            body = np.asarray(data, np.float32).reshape(self.pools.work.shape)
        scores = await self.pools.scores(body)
        if self.pools.at_once is None:
            output = await self.pools.help(self.output, scores)
        else:
            output = self.output(scores)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def output(self, scores):
        spec = self.pools.work.spec
        if spec["answer"] == "numbers":
            return ResponseOutput(name="answer", shape=[1, scores.size], datatype="FP32", data=scores.ravel().tolist())
        reply = self.pools.work.finish(scores)
        if isinstance(reply, bytes):
            return ResponseOutput(name="answer", shape=[1], datatype="BYTES", parameters={"content_type": "base64"},
                                  data=[base64.b64encode(reply).decode("ascii")])
        if spec["answer"] == "mask":
            return ResponseOutput(name="answer", shape=[1, *reply["shape"]], datatype="UINT8", parameters={"content_type": "base64"},
                                  data=[reply["base64_prediction"]])
        return ResponseOutput(name="answer", shape=[1], datatype="BYTES", parameters={"content_type": "str"}, data=[json.dumps(reply)])
