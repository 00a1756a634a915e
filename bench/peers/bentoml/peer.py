"""BentoML."""

from pathlib import Path

import pools
from peer import Command, Peer, Request


class BentoMl(Peer):
    title = "BentoML"

    def packages(self):
        return ["bentoml", "starlette", "uvicorn", "uvloop", "httptools", "onnxruntime", "pillow", "numpy"]

    def command(self, job, setting, place):
        run = [self.python().parent / "bentoml", "serve", "service:Served", "--working-dir", self.folder, "--host", "127.0.0.1",
               "--port", place.port]
        environment = {**pools.environment(self.spec(job, place), setting), "BENTOML_DO_NOT_TRACK": "True",
                       "BENTOML_HOME": str(place.folder / "bentoml"), "BENTOML_CONFIG_OPTIONS": ""}
        return Command([str(part) for part in run], environment)

    def configuration(self, job, setting):
        return (f"one service worker, raw bodies, no access log, no metrics, no usage statistics; {pools.told(job, setting)}; no batching")


PEERS = [BentoMl(Path(__file__).parent)]
