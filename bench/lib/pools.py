"""How an asyncio server runs a job in one process, the same in all of them: beside its event loop, so that the next
image is decoded while the network works on the last. It is what each of them leaves to its users.

Numbers need no such help where one pass runs at a time: a hand-over between threads takes longer than all that is
done with them, so they stay on the event loop.
"""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

try:
    import orjson
except ImportError:
    import json as orjson


class Pools:
    def __init__(self, work, workers, threads):
        self.work = work
        self.at_once = None if work.image or workers > 1 else work.session(threads)
        if self.at_once is None:
            self.helpers = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "helper")
            self.kept = threading.local()  # a session each: the threads within a pass belong to the session
            self.networks = ThreadPoolExecutor(workers, "network", lambda: setattr(self.kept, "session", work.session(threads)))
            self.networks.submit(lambda: None).result()  # loaded before the first request

    @classmethod
    def from_environment(cls):
        """As `environment` told the server's process."""
        from work import Work  # needs NumPy, which whoever describes a peer has not

        return cls(Work.read(os.environ["BENCH_JOB"]), int(os.environ["BENCH_WORKERS"]), int(os.environ["BENCH_THREADS"]))

    async def answer(self, body):
        """The bytes of the answer to one request: to its bytes, to its JSON as a list, or to its tensor."""
        if self.at_once is not None:
            return self.written(self.work.run(self.at_once, [self.read(body)])[0])
        return await self.help(self.written, await self.scores(body))

    async def scores(self, body):
        """The network's output for one request."""
        if self.at_once is not None:
            return self.work.run(self.at_once, [self.read(body)])[0]
        tensor = await self.help(self.read, body)
        return await asyncio.get_running_loop().run_in_executor(self.networks, self.passed, tensor)

    def help(self, function, *arguments):
        return asyncio.get_running_loop().run_in_executor(self.helpers, function, *arguments)

    def passed(self, tensor):
        return self.work.run(self.kept.session, [tensor])[0]

    def read(self, body):
        if not isinstance(body, (bytes, list)):
            return body
        if isinstance(body, bytes) and not self.work.image and self.work.spec["tensor"]["wire"] == "json":
            body = orjson.loads(body)
        return self.work.prepare(body)

    def written(self, scores):
        reply = self.work.finish(scores)
        return reply if isinstance(reply, bytes) else as_bytes(orjson.dumps(reply))


def as_bytes(text):
    return text.encode() if isinstance(text, str) else text


def environment(spec, setting):
    """What `from_environment` reads."""
    return {"BENCH_JOB": str(spec), "BENCH_WORKERS": str(setting.workers), "BENCH_THREADS": str(setting.threads)}


def told(job, setting):
    """Where the work is done, in words for the results."""
    if job.is_image() or setting.workers > 1:
        where = "decoding and encoding beside the event loop, on as many threads as cores"
        return f"{where}; {setting.workers} thread(s) of passes, each an ONNX Runtime session of {setting.threads} thread(s)"
    return f"all on the event loop; an ONNX Runtime session of {setting.threads} thread(s)"
