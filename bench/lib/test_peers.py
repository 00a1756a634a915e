"""The peers without their servers: what they send, what they read, and what they are started with."""

import base64
import json
import os
import re
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import answers
import jobs
import peer
from peer import Place, Setting

FOUND = peer.discover()
OURS = {name: FOUND[f"{name}/onnx"] for name in ("bentoml", "fastapi", "litserve", "mlserver", "pytriton", "ray")}
JOBS = {job.name: job for job in jobs.JOBS if not job.made()}  # whose files are in the repository


def started(one, job, setting=Setting(2, 3)):
    """(arguments, environment) that serve a job, and the job as the process reads it; what was written is gone by then."""
    with tempfile.TemporaryDirectory() as folder:
        command = one.command(job, setting, Place(Path(folder), tuple(range(7001, 7001 + one.ports))))
        texts = {str(file.relative_to(folder)): file.read_text() for file in Path(folder).rglob("*") if file.is_file()}
    return [str(part) for part in command.argv], command.environment, texts


class AllTest(unittest.TestCase):
    def test_each_has_pinned_packages_and_says_what_is_tuned(self):
        for name, one in OURS.items():
            pinned = one.requirements().read_text()
            for package in one.packages():
                self.assertRegex(pinned, rf"(?m)^{re.escape(package)}==\S+ \\$", name)
            every, hashed = (len(re.findall(form, pinned, re.MULTILINE)) for form in (r"^[a-z]\S+==", r"^[a-z]\S+==\S+ \\\n +--hash=sha256:"))
            self.assertEqual(every, hashed, f"{name}: a package without hashes")
            self.assertRegex((one.folder / "README.md").read_text(), r"\]\(https://", name)

    def test_all_run_the_onnx_runtime_that_marserve_has(self):
        theirs = re.search(r'version = "(.*)"', (jobs.ROOT / "scripts/lib/fetch_onnxruntime.py").read_text()).group(1)
        for name, one in OURS.items():
            self.assertIn(f"\nonnxruntime=={theirs} \\", one.requirements().read_text(), name)

    def test_an_installation_is_made_once_and_its_seconds_are_told(self):
        class Bare(peer.Peer):
            def requirements(self):
                return folder / "requirements.txt"

            def home(self):
                return folder / "environment"

            def pip(self, *arguments):
                asked.append(arguments)

        with tempfile.TemporaryDirectory() as made, mock.patch.dict(os.environ, {}):
            folder, asked = Path(made), []
            (folder / "requirements.txt").write_text("")
            os.environ.pop("BENCH_PYTHON_BARE", None)
            one = Bare(folder / "bare")
            self.assertIsNone(one.install_seconds(), "it is not there yet")
            begun = time.monotonic()
            one.install()
            self.assertTrue(0 < one.install_seconds() <= time.monotonic() - begun + 0.1)
            one.install()
            self.assertEqual(len(asked), 1, "the second time it is there")
            os.environ["BENCH_PYTHON_BARE"] = sys.executable
            self.assertIsNone(one.install_seconds(), "nobody knows how long an environment that is given took")

    def test_each_gets_the_port_the_job_and_no_more_threads_than_the_setting(self):
        for name, one in OURS.items():
            argv, environment, texts = started(one, JOBS["unet-small"])
            self.assertIn("7001", " ".join(argv) + texts.get("settings.json", ""), name)
            self.assertEqual(environment["BENCH_THREADS"], "3", name)
            self.assertEqual(json.loads(texts["job.json"])["name"], "unet-small", name)
            self.assertTrue(all(isinstance(value, str) for value in environment.values()), name)
            self.assertIn("3 thread(s)", one.configuration(JOBS["unet-small"], Setting(2, 3)), name)

    def test_none_reports_to_its_makers(self):
        self.assertEqual(started(OURS["bentoml"], JOBS["unet-small"])[1]["BENTOML_DO_NOT_TRACK"], "True")
        self.assertEqual(started(OURS["ray"], JOBS["unet-small"])[1]["RAY_USAGE_STATS_ENABLED"], "0")

    def test_who_takes_v2_in_binary(self):
        can = {name for name, one in OURS.items() if one.cannot(JOBS["tabular-v2"]) is None}
        self.assertEqual(can, {"pytriton"})
        for job in JOBS.values():
            if job.name != "tabular-v2":
                self.assertEqual([name for name, one in OURS.items() if one.cannot(job)], [], job.name)

    def test_a_raw_body_is_the_file_itself(self):
        for name in ("bentoml", "fastapi", "litserve", "ray"):
            request = OURS[name].request(JOBS["unet-small"])
            self.assertEqual((request.path, request.headers), ("/predict", {"Content-Type": "image/png"}), name)
            self.assertEqual(request.body, jobs.SCENE.read_bytes(), name)


class TritonTest(unittest.TestCase):
    triton = OURS["pytriton"]

    def answer(self, job, kind, shape, data):
        told = {"outputs": [{"name": "answer", "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(data)}}]}
        head = json.dumps(told).encode()
        return self.triton.answer(job, {"inference-header-content-length": str(len(head))}, head + data)

    def test_an_image_is_one_bytes_element(self):
        request = self.triton.request(JOBS["unet-small"])
        at = int(request.headers["Inference-Header-Content-Length"])
        [tensor] = json.loads(request.body[:at])["inputs"]
        image = jobs.SCENE.read_bytes()
        self.assertEqual(request.body[at:], len(image).to_bytes(4, "little") + image)
        self.assertEqual(tensor["parameters"]["binary_data_size"], 4 + len(image))

    def test_numbers_are_sent_as_the_job_says(self):
        request = self.triton.request(JOBS["tabular-json"])
        self.assertEqual(json.loads(request.body)["inputs"][0]["data"], JOBS["tabular-json"].nested())
        request = self.triton.request(JOBS["tensor-10mb"])
        self.assertTrue(request.body.endswith(JOBS["tensor-10mb"].body()))

    def test_answers_are_read(self):
        self.assertEqual(self.answer(JOBS["unet-small"], "UINT8", [1, 2, 3], bytes(range(6))), answers.Mask(2, 3, bytes(range(6))))
        self.assertEqual(self.answer(JOBS["empty-png"], "FP32", [1, 1], b"\0\0\xc0\x3f"), [1.5])
        told = b'{"car": 0.75, "tree": 0.25}'
        classes = next(job for job in jobs.JOBS if job.answer == "classes")
        self.assertEqual(self.answer(classes, "BYTES", [1, 1], len(told).to_bytes(4, "little") + told), {"car": 0.75, "tree": 0.25})

    def test_its_repository(self):
        texts = started(self.triton, JOBS["unet-small"])[2]
        made = {name: texts[f"models/{name}/config.pbtxt"] for name in ("pixels", "network", "served")}
        self.assertIn("instance_group [ { count: 2 kind: KIND_CPU } ]", made["network"])
        self.assertIn('input_map { key: "image" value: "pixels" }', made["served"])
        self.assertIn("dims: [ 3, 96, 128 ]", made["network"])
        self.assertNotIn("dynamic_batching", made["network"])
        self.assertEqual({name for name in texts if name.endswith(".py")}, 
                         {f"models/{step}/1/{file}.py" for step in ("pixels", "network") for file in ("model", "work")})
        batched = started(FOUND["pytriton/onnx-batched"], JOBS["unet-small"])[2]
        self.assertIn("max_batch_size: 8", batched["models/network/config.pbtxt"])
        self.assertIn("max_queue_delay_microseconds: 1000 ", batched["models/network/config.pbtxt"])
        self.assertNotIn("dynamic_batching", batched["models/served/config.pbtxt"])
        alone = started(self.triton, JOBS["tabular-v2"])[2]
        self.assertEqual({name for name in alone if name.endswith("pbtxt")}, {"models/served/config.pbtxt"})


class MlServerTest(unittest.TestCase):
    server = OURS["mlserver"]

    def answer(self, job, **output):
        return self.server.answer(job, {}, json.dumps({"outputs": [{"name": "answer", **output}]}).encode())

    def test_images_and_long_tensors_are_base64(self):
        for name in ("unet-small", "tensor-10mb"):
            [tensor] = json.loads(self.server.request(JOBS[name]).body)["inputs"]
            self.assertEqual(tensor["parameters"], {"content_type": "base64"})
            self.assertEqual(base64.b64decode(tensor["data"][0]), JOBS[name].body())

    def test_answers_are_read(self):
        mask = base64.b64encode(bytes(range(6))).decode()
        self.assertEqual(self.answer(JOBS["unet-small"], shape=[1, 2, 3], data=[mask]), answers.Mask(2, 3, bytes(range(6))))
        self.assertEqual(self.answer(JOBS["empty-tensor"], shape=[1, 2], data=[1.5, -2]), [1.5, -2.0])
        classes = next(job for job in jobs.JOBS if job.answer == "classes")
        self.assertEqual(self.answer(classes, shape=[1], data=['{"car": 0.75}']), {"car": 0.75})


if __name__ == "__main__":
    unittest.main()
