"""What scripts/soak does: the mix of requests, the server's memory meanwhile, and what is to be said of it."""

import datetime
import os
import struct
import sys
import time
from array import array
from collections import Counter
from pathlib import Path

import networks
import pictures
from crowd import Crowd
from growing import Chart, Part, Series, blocks, line, size
from latency import post, tensor_request
from process import cpu_seconds, memory, status
from served import ROOT, Client, pack

EXAMPLE = ROOT / "examples/street_scenes"
# Of a hundred requests, how many go to each.
MODELS = {"unet-pt": 5, "unet-onnx": 5, "thin-pt": 45, "thin-onnx": 45}
WAYS = {"png": 35, "json": 35, "handler": 15, "tensor": 14, "broken": 1}
ONE_WORKER = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 1\ndeviceType: cpu\nonnx: {intra_op_thread_count: 1}\n"
PICTURES, LIFETIME, EVERY = 600, 500, 0.2
# As many samples as a chart shows; the line goes through all.
SHOWN = 600
# Loaded beside the others, and unloaded one after the other, a tenth of the requests apart, for what the C library gives
# back then. Resident memory alone would not do: what leaks fits into what is kept, for a long time.
PROBES = [f"probe{number}" for number in range(10)]
# The stretches of the last half whose medians the line goes through.
STRETCHES = 20
HEIGHT, WIDTH = 96, 128
NUMBERS = 3 * HEIGHT * WIDTH


def fill(store):
    """Packs the models; the thin ones have the U-Net's settings."""
    config = (EXAMPLE / "model-config.yaml").read_text(encoding="utf-8") + ONE_WORKER
    files = {"unet-pt": EXAMPLE / "fastunet.pt", "unet-onnx": EXAMPLE / "fastunet.onnx"}
    for form, make in (("pt", networks.torchscript), ("onnx", networks.onnx)):
        files[f"thin-{form}"] = Path(store) / f"thin.{form}"
        files[f"thin-{form}"].write_bytes(make("seven"))
    for name, file in files.items():
        # The ONNX twin keeps its weights in the `.pt` beside it.
        beside = ["--extra-files", EXAMPLE / "fastunet.pt"] if name == "unet-onnx" else []
        pack(store, name, config, file, "mask_segmenter", *beside)
    for name in PROBES:
        pack(store, name, ONE_WORKER, files["thin-pt"], "tensor")


class Soak:
    def __init__(self, server, chance, requests, connections):
        self.server, self.chance, self.requests, self.connections = server, chance, requests, connections
        self.samples, self.done, self.sampled = [], 0, 0.0
        self.sent = Counter()
        self.took = 0.0

    def run(self):
        """The requests, in as many runs as there are probes, with the end of one after each."""
        for name in PROBES:
            self.manage("POST", f"/models?url={name}.mar&initial_workers=1&synchronous=true")
        seed = self.chance.randrange(1 << 30)
        self.album, self.pixels = pictures.album(PICTURES, seed)
        self.tensors = [array("f", (self.chance.random() for _ in range(3 * NUMBERS))).tobytes() for _ in range(4)]
        client = Client(self.server.inference)
        self.inputs = {model: client.ask("GET", f"/v2/models/{model}").json()["inputs"][0]["name"] for model in MODELS}
        self.statuses = Counter()
        self.held = []
        for number, probe in enumerate(PROBES, 1):
            self.ask(self.requests * number // len(PROBES) - self.requests * (number - 1) // len(PROBES))
            before = self.now()
            self.manage("DELETE", f"/models/{probe}")
            self.worked = cpu_seconds(self.server.process.pid)
            self.held.append({"done": self.done, "before": before, "after": self.now(), "parts": memory(self.server.process.pid)})

    def ask(self, count):
        with Crowd(self.server.inference, self.connections, lifetime=LIFETIME) as crowd:
            self.host = crowd.host
            told = crowd.run(self.request, count=count, watch=self.watch)
        # What was answered, which is less where the server stopped answering.
        self.done += told.statuses.total()
        self.samples.append((self.done, self.now()))
        self.took += told.seconds
        self.statuses += told.statuses

    def watch(self, answered):
        """A sample now and then."""
        now = time.monotonic()
        if now >= self.sampled + EVERY:
            self.sampled = now
            self.samples.append((self.done + answered, self.now()))
            if sys.stderr.isatty():
                print(f"\rsoak: {self.done + answered} of {self.requests}, {size(self.samples[-1][1])} ", end="", file=sys.stderr)

    def now(self):
        return status(self.server.process.pid)["resident"]

    def manage(self, method, path):
        answer = self.server.manage(method, path)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body.decode()}")

    def request(self):
        """One of the mix, as bytes."""
        model, = self.chance.choices(list(MODELS), MODELS.values())
        way, = self.chance.choices(list(WAYS), WAYS.values())
        picture = self.chance.choice(self.album)
        self.sent[way] += 1
        if way == "tensor":
            rows = self.chance.randint(1, 3)
            data = self.chance.choice(self.tensors)[: 4 * rows * NUMBERS]
            return self.tensor(model, self.inputs[model], [rows, 3, HEIGHT, WIDTH], "FP32", data)
        if way == "handler":
            return self.tensor(f"{model}@handler", "data", [1, 1], "BYTES", struct.pack("<I", len(picture)) + picture)
        if way == "broken":
            picture = picture[: self.chance.randrange(1, max(2, len(picture) // 2))]
        accept = "image/png" if way == "png" else "application/json"
        return self.post(f"/predictions/{model}", picture, Accept=accept)

    def tensor(self, model, name, shape, datatype, data):
        body, head = tensor_request(name, shape, data, datatype)
        return self.post(f"/v2/models/{model}/infer", body, Inference_Header_Content_Length=head)

    def post(self, path, body, **headers):
        return post(self.host, path, body, Content_Type="application/octet-stream", **headers)

    def report(self, most):
        """What is to be said, and what is wrong."""
        part = Part("soak", "Many requests", ["", "after the first tenth", "after half", "at the end", "more in the last half"])
        shown = begin, middle, end = self.held[0], self.held[len(self.held) // 2 - 1], self.held[-1]
        row = lambda title, of: [title, *(size(of(one)) for one in shown), size(of(end) - of(middle))]
        part.rows = [
            row("resident", lambda of: of["before"]),
            row("once the C library has let go of what it keeps", lambda of: of["after"]),
            row("of the first, the C library's share", lambda of: of["before"] - of["after"]),
            *(row(f"of the second, {title}", lambda of, key=key: of["parts"][key]) for key, title in
              (("heap", "the heap"), ("anonymous", "other memory without a file"), ("files", "files"))),
        ]
        late = [of for of in self.held if of["done"] >= middle["done"]]
        each, held = self.slope(), line([of["done"] for of in late], [of["after"] for of in late])
        part.slopes = [
            f"Over the last half, resident memory grows by {each.slope:.1f} bytes with each request (± {each.half:.1f}), and without what the"
            f" C library keeps by {held.slope:.1f} (± {held.half:.1f}); {most:g} are allowed.",
            f"Before that, from the first tenth to half, the latter grew by {size(middle['after'] - begin['after'])}.",
        ]
        sent, wrong = self.sent, self.statuses.copy()
        part.before = (
            f"{datetime.date.today().isoformat()}: {self.done} requests over {self.connections} connections in {self.took / 60:.1f} minutes,"
            f" {self.done / self.took:.0f} a second and {1e3 * self.worked / self.done:.1f} ms of the server's processor each, on {os.cpu_count()} cores: {sent['png'] + sent['json']} pictures through `/predictions`,"
            f" {sent['handler']} through `/v2`, {sent['tensor']} tensors, {sent['broken']} broken pictures. {len(self.album)} pictures of"
            f" {self.pixels / len(self.album) / 1e3:.0f},000 pixels on average.")
        wrong.subtract({200: self.requests - sent["broken"], 400: sent["broken"]})
        if any(wrong.values()):
            part.broken.append(f"answers by status, of {sent['broken']} broken pictures and {self.requests - sent['broken']} others that were to be sent"
                               f" (-1: none): {dict(self.statuses)}")
        for what, found in (("resident memory", each), ("memory without what the C library keeps", held)):
            if found.slope > most and found.slope > found.half:
                part.steep.append(f"{what} grows by {found.slope:.1f} bytes with each request (± {found.half:.1f}), which is more than {most:g}")
        xs, ys = zip(*self.samples[:: 1 + len(self.samples) // SHOWN])
        half = [x for x in xs if x >= self.done / 2]
        part.charts = [Chart("soak", "Resident memory by requests", "requests", "MB",
                             [Series("resident", xs, [y / 1e6 for y in ys]),
                              Series("without what the C library keeps", [of["done"] for of in self.held], [of["after"] / 1e6 for of in self.held]),
                              Series("the line through its last half", half, [held.at(x) / 1e6 for x in half])], points=False)]
        return part

    def slope(self):
        """Bytes with each request, over the last half."""
        late = [sample for sample in self.samples if sample[0] >= self.done / 2]
        return line(*blocks(*zip(*late), min(STRETCHES, len(late))))
