"""What every Python server of the bench does with a request: the same work in all of them, NumPy and Pillow alone.

A server's process reads the job from the file that `Peer.spec` wrote:

    work = Work.read(os.environ["BENCH_JOB"])
    tensor = work.prepare(body)           # bytes or parsed JSON of one request -> float32, no batch's side
    scores = network(stack of tensors)    # the server's own business
    reply = work.finish(scores[0])        # -> what `json.dumps` takes, or bytes of a PNG
    work.content_type                     # of that reply

`work.session(threads)` is an ONNX Runtime session with its threads set; a server that has its own way need not use it.
"""

import base64
import io
import json

import numpy as np


class Work:
    def __init__(self, spec):
        self.spec = spec
        self.weights, self.input, self.output = spec["weights"], spec["input"], spec["output"]
        self.shape, self.batch, self.delay = tuple(spec["shape"]), spec["batch"], spec["delay"]
        self.image = spec.get("image")
        self.content_type = "image/png" if spec["reply"] == "png" else "application/json"
        if self.image:
            # (x / 255 - mean) / std, as one product and one sum.
            std = np.asarray(self.image["std"], np.float32)
            self.factor = (1 / (255 * std)).astype(np.float32)
            self.offset = (-np.asarray(self.image["mean"], np.float32) / std).astype(np.float32)

    @classmethod
    def read(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def prepare(self, body):
        """One request's tensor. `body` is an image file's bytes, a JSON list already parsed, JSON's bytes, or numbers' bytes."""
        if self.image:
            return self.pixels(body)
        if isinstance(body, list):
            return np.asarray(body, np.float32)
        if self.spec["tensor"]["wire"] == "json":
            return np.asarray(json.loads(body), np.float32)
        return np.frombuffer(body, np.float32).reshape(self.shape)

    def pixels(self, data):
        from PIL import Image

        height, width = self.image["size"]
        image = Image.open(io.BytesIO(data)).convert("RGB")
        if self.image["resize"] == "shorter":
            # torchvision's Resize(int): the longer side is rounded down.
            short = height
            wide, high = image.size
            width, height = (short, int(short * high / wide)) if wide <= high else (int(short * wide / high), short)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.image["crop"]:
            # torchvision's CenterCrop.
            high, wide = self.image["crop"]
            top, left = round((height - high) / 2), round((width - wide) / 2)
            image = image.crop((left, top, left + wide, top + high))
        levels = np.asarray(image).transpose(2, 0, 1)
        tensor = np.multiply(levels, self.factor[:, None, None], dtype=np.float32, order="C")
        tensor += self.offset[:, None, None]
        return tensor

    def finish(self, scores):
        """What one request is answered: `scores` is the network's output for it, without the batch's side."""
        scores = np.asarray(scores)
        if self.spec["answer"] == "mask":
            return self.mask(scores.argmax(0).astype(np.uint8))
        if self.spec["answer"] == "classes":
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            best = np.argsort(-shares, kind="stable")[: self.spec["top"]]
            names = self.spec["labels"] or range(len(scores))
            return {str(names[at]): float(shares[at]) for at in best}
        return scores.tolist()

    def mask(self, classes):
        if self.spec["reply"] == "png":
            return palette_png(classes)
        return {"base64_prediction": base64.b64encode(classes).decode("ascii"), "shape": classes.shape, "dtype": "uint8"}

    def session(self, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        return onnxruntime.InferenceSession(self.weights, options, providers=["CPUExecutionProvider"])

    def run(self, session, tensors):
        """The network's output for several requests' tensors, by a session."""
        return session.run([self.output], {self.input: np.stack(tensors)})[0]


def palette_png(classes):
    from PIL import Image

    image = Image.fromarray(classes, "P")
    image.putpalette([level for at in range(256) for level in (at * 53 % 256, at * 101 % 256, at * 197 % 256)])
    written = io.BytesIO()
    # The fastest level of zlib's; the default takes several times as long for a file that is little smaller.
    image.save(written, "PNG", compress_level=1)
    return written.getvalue()
