"""Ray Serve: each replica is a process that decodes, runs the network and encodes."""

import os
import signal
import sys
import threading

import ray
from pools import Pools
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


class Served:
    def __init__(self):
        self.pools = Pools.from_environment()

    async def __call__(self, request: Request):
        return Response(await self.pools.answer(await request.body()), media_type=self.pools.work.content_type)


def main():
    port, folder, replicas = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=folder, object_store_memory=100 << 20,
             num_cpus=len(os.sched_getaffinity(0)), _node_ip_address="127.0.0.1")
    quiet = {"log_level": "ERROR", "enable_access_log": False}
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=quiet)
    served = serve.deployment(Served, num_replicas=replicas, max_ongoing_requests=4096, ray_actor_options={"num_cpus": 0},
                              logging_config=quiet)
    serve.run(served.bind(), route_prefix="/")
    asked.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
