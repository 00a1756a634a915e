"""FastAPI with ONNX Runtime, as written by hand, served by uvicorn."""

from pathlib import Path

import pools
from peer import Command, Peer


class FastApi(Peer):
    title = "FastAPI + ONNX Runtime"

    def packages(self):
        return ["fastapi", "uvicorn", "uvloop", "httptools", "orjson", "onnxruntime", "pillow", "numpy"]

    def command(self, job, setting, place):
        run = [self.python(), "-m", "uvicorn", "app:app", "--app-dir", self.folder, "--host", "127.0.0.1", "--port", place.port,
               "--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off", "--log-level", "warning",
               "--no-access-log", "--no-server-header", "--no-date-header", "--backlog", 4096]
        return Command([str(part) for part in run], pools.environment(self.spec(job, place), setting))

    def configuration(self, job, setting):
        return f"one uvicorn process, uvloop, httptools, no access log, orjson; {pools.told(job, setting)}; it does not batch"


PEERS = [FastApi(Path(__file__).parent)]
