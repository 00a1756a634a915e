"""LitServe."""

from pathlib import Path

import pools
from peer import BATCH, Command, Peer


class LitServe(Peer):
    title = "LitServe"

    def packages(self):
        return ["litserve", "fastapi", "uvicorn", "uvloop", "httptools", "orjson", "onnxruntime", "pillow", "numpy"]

    def command(self, job, setting, place):
        return Command([str(self.python()), str(self.folder / "app.py"), str(place.port)],
                       pools.environment(self.spec(job, place), setting))

    def configuration(self, job, setting):
        batch, delay = self.batching(job)
        batching = f"batches of {batch} within {delay} ms" if batch > 1 else "no batching"
        return (f"{setting.workers} worker process(es) that decode, run an ONNX Runtime session of {setting.threads} thread(s) and "
                f"encode; as many processes of HTTP; raw bodies, orjson, uvloop, httptools, no access log; {batching}")


PEERS = [LitServe(Path(__file__).parent), LitServe(Path(__file__).parent, batch=BATCH)]
