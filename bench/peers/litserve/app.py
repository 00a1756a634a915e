"""LitServe: a worker process decodes, runs the network and encodes; a process of HTTP beside it."""

import os
import sys
from typing import Annotated

import litserve
import orjson
from fastapi import Depends, Request, Response
from work import Work


async def raw(request: Request):
    """The body as it came; LitServe by itself takes JSON and forms alone."""
    return await request.body()


class Served(litserve.LitAPI):
    def setup(self, device):
        self.work = Work.read(os.environ["BENCH_JOB"])
        self.parses = not self.work.image and self.work.spec["tensor"]["wire"] == "json"
        self.session = self.work.session(int(os.environ["BENCH_THREADS"]))

    def decode_request(self, request: Annotated[bytes, Depends(raw)]):
        return self.work.prepare(orjson.loads(request) if self.parses else request)

    def batch(self, inputs):
        return inputs  # stacked by `Work.run`

    def unbatch(self, output):
        return list(output)

    def predict(self, x):
        return self.work.run(self.session, x) if isinstance(x, list) else self.work.run(self.session, [x])[0]

    def encode_response(self, output) -> Response:
        reply = self.work.finish(output)
        return Response(reply if isinstance(reply, bytes) else orjson.dumps(reply), media_type=self.work.content_type)


if __name__ == "__main__":
    work = Work.read(os.environ["BENCH_JOB"])
    batching = {"max_batch_size": work.batch, "batch_timeout": work.delay / 1000} if work.batch > 1 else {}
    server = litserve.LitServer(
        Served(**batching), accelerator="cpu", workers_per_device=int(os.environ["BENCH_WORKERS"]), timeout=False, disable_openapi_url=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=int(os.environ["BENCH_WORKERS"]), log_level="warning",
               generate_client_file=False, access_log=False, loop="uvloop", http="httptools", backlog=4096)
