"""marserve itself: its built-in handlers, one archive a job."""

import json
import subprocess
from pathlib import Path

import answers
from jobs import ROOT
from peer import BATCH, Command, Peer, Request, v2_request
from served import binary, build, version

HANDLERS = {"numbers": "image_regressor", "classes": "image_classifier", "mask": "mask_segmenter"}
LARGEST = 64 * 1024 * 1024
# The line of each request is off, as with all that are compared; its figures are on.
LOG = "info,access=warn"


class Marserve(Peer):
    title = "marserve"
    ports = 3
    keeps = True
    program = staticmethod(binary)

    def install(self):
        """Builds it, unless `MARSERVE` and `MAR` name what is built."""
        build()

    def installed(self):
        """The programs, and the libraries that they load."""
        return [binary("marserve"), binary("mar"), *self.libraries()]

    def libraries(self):
        """What its two runtimes are; where `scripts/setup` linked them."""
        linked = [ROOT / ".libtorch/lib", ROOT / ".onnxruntime/lib"]
        return [folder.resolve() for folder in linked if folder.exists()]

    def versions(self):
        runtimes = {"libtorch": ROOT / ".libtorch/build-version", "ONNX Runtime": ROOT / ".onnxruntime/VERSION_NUMBER"}
        return {"marserve": version().split()[-1], **{name: file.read_text().strip() for name, file in runtimes.items() if file.exists()}}

    def cannot(self, job):
        return None

    def handler(self, job):
        return HANDLERS[job.answer] if job.is_image() else "tensor"

    def preparing(self, job):
        """The archive's `handler:` section."""
        if not job.is_image():
            return {"inputs": [{"name": job.network.input, "dtype": "float32", "shape": list(job.input.shape)}]}
        image = job.input
        told = {"size": list(image.size), "resize": image.resize, "mean": list(image.mean), "std": list(image.std)}
        if image.resize == "shorter":
            told["size"] = image.size[0]
        if image.crop:
            told["center_crop"] = list(image.crop)
        return {**told, "labels": list(job.labels)} if job.labels else told

    def model_config(self, job, setting):
        """`model-config.yaml`, of which JSON is a part."""
        batch, delay = self.batching(job)
        told = {
            "minWorkers": setting.workers, "maxWorkers": setting.workers, "batchSize": batch, "maxBatchDelay": delay,
            "deviceType": "cpu", "jobQueueSize": 2000, "handler": self.preparing(job),
        }
        if self.form == "onnx":
            told["onnx"] = {"intra_op_thread_count": setting.threads}
        else:
            told["torch"] = {"INTRA_OP_THREAD_COUNT": setting.threads}
        return told

    def archive(self, folder, name, job, setting):
        """Packs the job's network. Weights that an ONNX file keeps in others are packed with it."""
        config = Path(folder) / f"{name}.yaml"
        config.write_text(json.dumps(self.model_config(job, setting)), encoding="utf-8")
        run = [binary("mar"), "pack", "--model-name", name, "--version", "1.0", "--handler", self.handler(job), "--serialized-file",
               job.network.file(self.form), "--config-file", config, "--export-path", folder, "--force"]
        subprocess.run([str(part) for part in run], check=True, stdout=subprocess.DEVNULL)
        return Path(folder) / f"{name}.mar"

    def pack(self, job, setting, folder):
        return self.archive(folder, "model", job, setting)

    def command(self, job, setting, place):
        return self.serve(place, "--models", "model.mar")

    def serve(self, place, *flags):
        addresses = zip(("inference", "management", "metrics"), place.ports, strict=True)
        run = [binary("marserve"), "--foreground", "--ncs", "--model-store", place.folder, *flags,
               *(part for name, port in addresses for part in (f"--{name}-address", f"http://127.0.0.1:{port}")),
               "--grpc-inference-port", "0", "--grpc-management-port", "0", "--max-request-size", str(LARGEST)]
        return Command(run, {"LOG_LOCATION": place.folder, "XDG_CACHE_HOME": place.folder, "RUST_LOG": LOG})

    def request(self, job):
        if not job.is_image() and job.input.wire != "json":
            return v2_request(job, "model")
        asked = super().request(job)
        return Request("/predictions/model" + ("?format=png" if job.reply == "png" else ""), asked.body, asked.headers)

    def answer(self, job, headers, body):
        if not job.is_image() and job.input.wire != "json":
            return answers.v2_numbers(body, headers)
        return super().answer(job, headers, body)

    def configuration(self, job, setting):
        return (f"handler `{self.handler(job)}`, `model-config.yaml`: `{json.dumps(self.model_config(job, setting))}`\n"
                f"`RUST_LOG={LOG}`: no line a request; figures on")

    def idle_command(self, setting, place):
        return self.serve(place)


HERE = Path(__file__).parent
PEERS = [Marserve(HERE, "torchscript"), Marserve(HERE, "torchscript", BATCH), Marserve(HERE, "onnx")]
