"""BentoML."""

from pathlib import Path

import pools
from peer import Command, Peer


class BentoMl(Peer):
    title = "BentoML"

    def packages(self):
        return ["bentoml", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "onnxruntime", "pillow", "numpy"]

    def command(self, job, setting, place):
        run = [self.python().parent / "bentoml", "serve", "service:Served", "--working-dir", self.folder, "--host", "127.0.0.1",
               "--port", place.port]
        environment = {**pools.environment(self.spec(job, place), setting), "BENTOML_DO_NOT_TRACK": "True",
                       "BENTOML_HOME": str(place.folder / "bentoml")}
        return Command([str(part) for part in run], environment)

    def configuration(self, job, setting):
        return (f"one service worker with a route of its own (bentoml.asgi_app), raw bodies, orjson, no access log, no metrics, no usage "
                f"statistics; {pools.told(job, setting)}; it does not batch")


PEERS = [BentoMl(Path(__file__).parent)]
