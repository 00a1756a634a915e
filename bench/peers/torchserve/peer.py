"""TorchServe 0.12, the last there is: its Java front end, a Python worker a pass, a custom handler."""

import json
import shutil
import subprocess
from pathlib import Path

from peer import BATCH, Command, Peer

LARGEST = 64 * 1024 * 1024
COMPUTING = ("fastunet", "resnet18")  # networks that freezing may change
HERE = Path(__file__).parent
# What the command `torch-model-archiver` is.
ARCHIVER = "import sys; from model_archiver.model_packaging import generate_model_archive as main; sys.exit(main())"


class TorchServe(Peer):
    title = "TorchServe"
    ports = 5
    path = "/predictions/model"

    def __init__(self, folder, form, frozen=False, batch=None):
        super().__init__(folder, form, batch)
        self.frozen = frozen

    @property
    def name(self):
        return super().name + ("-frozen" if self.frozen else "")

    def full_title(self):
        return super().full_title() + (" frozen by the handler" if self.frozen else "")

    def packages(self):
        names = ["torchserve", "torch", "numpy", "pillow"]
        return [*names, "onnxruntime"] if self.form == "onnx" else names

    def missing(self):
        java = shutil.which("java")
        if java is None:
            return "there is no `java`: apt-get install openjdk-17-jre-headless"
        told = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True, check=True).stderr
        version = told.split('"')[1].split(".")[0]
        wanted = f"`java` is version {version}, and TorchServe 0.12 wants 17: apt-get install openjdk-17-jre-headless"
        return None if int(version) >= 17 else wanted

    def versions(self):
        told = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True, check=True).stderr
        return {**super().versions(), "Java": told.split('"')[1]}

    def belongs(self, job):
        return super().belongs(job) and not (self.frozen and job.network.name not in COMPUTING)

    def model_config(self, job, setting, folder):
        batch, delay = self.batching(job)
        return {
            "minWorkers": setting.workers, "maxWorkers": setting.workers, "batchSize": batch, "maxBatchDelay": delay,
            "deviceType": "cpu", "jobQueueSize": 2000,
            "handler": {"job": str(folder / "job.json"), "threads": setting.threads, "frozen": self.frozen},
        }

    def pack(self, job, setting, folder):
        """By its own archiver, with the weights in the archive, as its users do."""
        (folder / "model-config.yaml").write_text(json.dumps(self.model_config(job, setting, folder)), encoding="utf-8")
        beside = [job.network.folder / name for name in job.network.beside if self.form == "onnx"]
        run = [self.python(), "-c", ARCHIVER, "--model-name", "model", "--version", "1.0",
               "--handler", HERE / "handler.py", "--serialized-file", job.network.file(self.form),
               "--config-file", folder / "model-config.yaml", "--export-path", folder, "--force"]
        if beside:
            run += ["--extra-files", ",".join(str(file) for file in beside)]
        subprocess.run([str(part) for part in run], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        return folder / "model.mar"

    def properties(self, job, setting, ports):
        """config.properties, less what is of this run alone."""
        return {
            "default_workers_per_model": setting.workers, "job_queue_size": 2000, "max_request_size": LARGEST,
            "max_response_size": LARGEST, "disable_token_authorization": "true", "disable_system_metrics": "true",
            "enable_metrics_api": "false", "async_logging": "true", "prefer_direct_buffer": "true",
        }

    def command(self, job, setting, place):
        self.spec(job, place)
        return self.java(place, self.properties(job, setting, place.ports), "-m", "model=model.mar")

    def idle_command(self, setting, place):
        """The server without a model, for what it holds then."""
        return self.java(place, self.properties(None, setting, place.ports))

    def java(self, place, properties, *arguments):
        """The command that `torchserve` itself makes, without the Python that would wait for it beside."""
        inference, management, metrics, grpc, grpc_management = place.ports
        addresses = {
            "inference_address": f"http://127.0.0.1:{inference}", "management_address": f"http://127.0.0.1:{management}",
            "metrics_address": f"http://127.0.0.1:{metrics}", "grpc_inference_port": grpc, "grpc_management_port": grpc_management,
        }
        config = place.write("config.properties", "".join(f"{key}={value}\n" for key, value in {**addresses, **properties}.items()))
        home = self.site_packages()
        run = ["java", f"-Dmodel_server_home={home}", f"-Dlog4j.configurationFile=file://{HERE / 'log4j2.xml'}",
               f"-Djava.io.tmpdir={place.folder}", "-cp", f".:{home}/ts/frontend/*", "org.pytorch.serve.ModelServer",
               "--python", self.python(), "-f", config, "-s", place.folder, "-ncs", "--disable-token-auth", *arguments]
        return Command(run, {"LOG_LOCATION": place.folder, "METRICS_LOCATION": place.folder, "TEMP": place.folder})

    def site_packages(self):
        code = "import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec('ts').origin).parents[1])"
        return subprocess.run([self.python(), "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def configuration(self, job, setting):
        properties = " ".join(f"{key}={value}" for key, value in self.properties(job, setting, ()).items())
        how = "ONNX Runtime, all optimisations, in the handler" if self.form == "onnx" else "`torch.jit.load`, as its own handlers do"
        if self.frozen:
            how = "`torch.jit.optimize_for_inference(torch.jit.freeze(...))`"
        batch, delay = self.batching(job)
        return (f"custom handler: {how}; {setting.threads} thread(s); batches of {batch}, delay {delay} ms, {setting.workers} worker(s)\n"
                f"`config.properties`: `{properties}`; no log lines a request, from Java or Python; tokens off")


PEERS = [TorchServe(HERE, "torchscript"), TorchServe(HERE, "torchscript", frozen=True), TorchServe(HERE, "torchscript", batch=BATCH),
         TorchServe(HERE, "onnx")]
