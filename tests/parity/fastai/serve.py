"""Asks one marserve, which serves the archives of all learners, and adds up how far its answers are from FastAI's."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import compare
from compare import Tally

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts/lib"))
from served import Client, Server, total  # noqa: E402

BATCH = 8
# Long enough for eight requests to meet; a batch that is full does not wait for its end.
DELAY = 20_000


def headers(known: dict) -> dict[str, str]:
    return {"Content-Type": "application/json"} if known["input"].endswith(".json") else {}


class Asked:
    """A learner's inputs and what FastAI says of them, asked at a server."""

    def __init__(self, server: Server, name: str, kind: str, folder: Path):
        self.server, self.name, self.kind, self.folder = server, name, kind, folder
        self.known = json.loads((folder / "answers.json").read_text(encoding="utf-8"))

    def ask(self, known: dict, query: str) -> bytes:
        body = (self.folder / known["input"]).read_bytes()
        answer = Client(self.server.inference).ask("POST", f"/predictions/{self.name}{query}", body, headers(known))
        if answer.status != 200:
            raise Refused(f"{answer.status}: {answer.body[:300].decode(errors='replace')}")
        return answer.body

    def alone(self) -> Tally:
        """Every input by itself."""
        tally = Tally()
        for known in self.known:
            try:
                body = self.ask(known, compare.query(self.kind, known))
                compare.compare(tally, self.kind, known, body, self.folder)
                if self.kind == "labels":
                    compare.chosen(tally, known, self.ask(known, ""))
            except Refused as refused:
                tally.inputs += 1
                compare.miss(tally, known, str(refused))
        if len(tally.said) < 3 and not (self.kind == "mask" and len(tally.said) == 2):
            tally.missed.append(f"the learner says {sorted(tally.said)} of everything, so that nothing was compared")
        return tally

    def batched(self) -> list[str]:
        """What differs once eight requests go through the network together."""
        eight = self.known[:BATCH]
        alone = [self.ask(known, compare.query(self.kind, known)) for known in eight]
        wanted = {"url": f"{self.name}.mar", "replace": "true", "batch_size": BATCH, "max_batch_delay": DELAY,
                  "initial_workers": 1, "synchronous": "true"}
        answer = self.server.manage("POST", f"/models?{urlencode(wanted)}")
        if answer.status != 200:
            return [f"registered for batches: {answer.status} {answer.body[:200]!r}"]
        before = self.passes()
        together = threading.Barrier(BATCH)

        def send(known: dict) -> bytes:
            together.wait()
            return self.ask(known, compare.query(self.kind, known))

        try:
            with ThreadPoolExecutor(BATCH) as pool:
                batched = list(pool.map(send, eight))
        except Refused as refused:
            return [f"in a batch: {refused}"]
        passes, requests = (now - then for now, then in zip(self.passes(), before))
        found = [] if (passes, requests) == (1, BATCH) else [f"{requests:.0f} requests in {passes:.0f} forward passes"]
        for known, one, other in zip(eight, alone, batched):
            difference = compare.apart(self.kind, one, other)
            if difference:
                found.append(f"{known['input']} in a batch: {difference}")
        return found

    def passes(self) -> tuple[float, float]:
        """Forward passes and the requests in them, so far."""
        figures = self.server.figures()
        find = lambda part: total(figures, f"marserve_batch_size_{part}", model_name=self.name)
        return find("count"), find("sum")


class Refused(Exception):
    """The server did not answer a request with 200."""
