#!/usr/bin/env python3
"""Tests of the fetching of libtorch and ONNX Runtime, against a server of their own: no network, no waiting."""

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import io
import os
import shutil
import socket
import tempfile
import threading
import unittest
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Optional
from unittest import mock

import download as downloading
import fetching
import pip_index
from download import Progress, Wheel, download
from fetch_libtorch import Libtorch
from fetch_onnxruntime import OnnxRuntime
from pip_index import Trouble, ask_pip, web

BODY = bytes(range(256)) * 4000
LIBRARIES = {"torch/lib/libtorch_cpu.so": ("lib/libtorch_cpu.so", 7)}


class Site(ThreadingHTTPServer):
    """Serves `files`. Says no to Range where `ranges` is false; hangs up after `cuts` bytes, once for each of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.cuts: list[int] = []
        self.status: Optional[int] = None
        self.asked: list[Optional[str]] = []
        self.secrets: list[Optional[str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, wanted = self.server, self.headers["Range"]
        site.asked.append(wanted)
        site.secrets.append(self.headers["Authorization"])
        body = site.files.get(self.path)
        if site.status or body is None:
            self.send_error(site.status or 404)
            return
        first = int(wanted[len("bytes="):-1]) if wanted and site.ranges else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        self.wfile.write(body[first:][:site.cuts.pop(0)] if site.cuts else body[first:])

    def log_message(self, *_: object) -> None:
        pass


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        environment = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "PIP_CONFIG_FILE": os.devnull,
                       "PIP_NO_CACHE_DIR": "1", "PIP_RETRIES": "0"}
        clean = {key: value for key, value in os.environ.items()
                 if not key.startswith("PIP_") and key != "MARSERVE_WHEELS"}
        self.enterContextOf(mock.patch.dict(os.environ, {**clean, **environment}, clear=True))
        self.stderr = io.StringIO()
        self.enterContextOf(contextlib.redirect_stderr(self.stderr))
        self.site = Site()
        self.addCleanup(self.site.server_close)
        thread = threading.Thread(target=self.site.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.site.shutdown)

    def enterContextOf(self, context: contextlib.AbstractContextManager) -> None:  # unittest has its own from 3.11 on
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    @contextlib.contextmanager
    def trouble(self, *words: str) -> Iterator[None]:
        with self.assertRaises(Trouble) as caught:
            yield
        for word in words:
            self.assertIn(word, str(caught.exception))


class Download(Case):
    def setUp(self) -> None:
        super().setUp()
        self.wheel = Wheel("torch", "2", "torch.whl", len(BODY), hashlib.sha256(BODY).hexdigest(), {})
        self.part = self.folder / "torch.whl.part"
        self.site.files = {"/torch.whl": BODY}
        self.pauses: list[float] = []

    def get(self, url: Optional[str] = None) -> None:
        download(self.wheel, url or f"{self.site.url}/torch.whl", self.part, web(), self.pauses.append)

    def test_a_lost_connection_is_taken_up_where_it_ended(self) -> None:
        self.site.cuts = [300_000, 1000]
        self.get()
        self.assertEqual(self.part.read_bytes(), BODY)
        self.assertEqual(self.site.asked, [None, "bytes=300000-", "bytes=301000-"])
        self.assertEqual(self.pauses, [2, 2], "a try that brought something starts the waits again")

    def test_a_later_run_goes_on_and_a_whole_file_is_not_asked_for(self) -> None:
        self.part.write_bytes(BODY[:1000])
        self.get()
        self.get()
        self.assertEqual(self.part.read_bytes(), BODY)
        self.assertEqual(self.site.asked, ["bytes=1000-"])

    def test_a_server_without_ranges_sends_it_from_the_start(self) -> None:
        self.site.ranges = False
        self.part.write_bytes(b"x" * 1000)
        self.get()
        self.assertEqual(self.part.read_bytes(), BODY)
        self.assertIn("cannot resume", self.stderr.getvalue())

    def test_a_damaged_part_is_told_and_fetched_anew(self) -> None:
        self.part.write_bytes(b"x" * 1000)
        self.get()
        self.assertEqual(self.part.read_bytes(), BODY)
        self.assertEqual(self.site.asked, ["bytes=1000-", None])
        self.assertIn("wrong checksum, it is damaged", self.stderr.getvalue())

    def test_a_part_that_is_too_long_is_fetched_anew(self) -> None:
        self.part.write_bytes(BODY + b"x")
        self.get()
        self.assertEqual(self.part.read_bytes(), BODY)

    def test_another_file_under_the_same_name_is_refused(self) -> None:
        self.site.files = {"/torch.whl": BODY[::-1]}
        with self.trouble("wrong checksum twice", self.wheel.sha256):
            self.get()
        self.assertFalse(self.part.exists())

    def test_no_connection_ends_in_one_message_that_says_how_to_go_on(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with self.trouble("refused", "run the command again"):
                self.get(f"http://127.0.0.1:{closed.getsockname()[1]}/torch.whl")
        self.assertEqual(self.pauses, [2, 4, 8, 16])

    def test_a_server_in_trouble_is_tried_again_but_not_one_that_says_no(self) -> None:
        self.site.status = 503
        with self.trouble("503"):
            self.get()
        self.assertEqual(len(self.pauses), 4)
        self.site.status = 403
        with self.trouble("the server answered 403"):
            self.get()
        self.assertEqual(len(self.pauses), 4)

    def test_a_full_disk_is_not_a_network_error(self) -> None:
        full = mock.Mock(open=mock.Mock(side_effect=OSError(errno.ENOSPC, "no space")))
        with self.trouble("the disk is full", "run the command again"):
            download(self.wheel, "http://unused", self.part, full, self.pauses.append)
        self.assertEqual(self.pauses, [])

    def test_credentials_go_in_a_header_not_in_the_address(self) -> None:
        self.get(self.site.url.replace("//", "//me:p%40ss@") + "/torch.whl")
        self.assertEqual(self.site.secrets, ["Basic bWU6cEBzcw=="])

    def test_progress_is_a_line_for_each_tenth_off_a_terminal_and_a_bar_on_one(self) -> None:
        progress = Progress("torch", 0, 2 * downloading.LARGE)
        for percent in range(101):
            progress.update(2 * downloading.LARGE * percent // 100)
        self.assertEqual(len(self.stderr.getvalue().splitlines()), 10)
        with mock.patch.object(self.stderr, "isatty", lambda: True):
            Progress("torch", 0, 100).update(100)
        self.assertIn(f"\r[{'#' * 20}] torch", self.stderr.getvalue())


class Fetch(Case):
    def setUp(self) -> None:
        super().setUp()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("torch/lib/libtorch_cpu.so", b"library")
            archive.writestr("torch/lib/libtorch_cuda.so", b"not wanted")
            archive.writestr("torch/include/torch/csrc/api/include/torch/torch.h", b"header")
        self.body = packed.getvalue()
        self.wheel = Wheel("torch", "2.0", "torch-2.0-cp312-cp312-manylinux_2_28_x86_64.whl", len(self.body),
                           hashlib.sha256(self.body).hexdigest(), LIBRARIES)
        self.target = self.folder / "cache" / "libtorch"
        self.loads = mock.Mock()
        self.library = Libtorch()
        self.enterContextOf(mock.patch.multiple(Libtorch, wheels=(self.wheel,), check_loads=self.loads))
        self.enterContextOf(mock.patch("platform.machine", lambda: "x86_64"))
        self.enterContextOf(mock.patch("sys.platform", "linux"))
        link = f'<a href="/files/{self.wheel.file}">{self.wheel.file}</a>'
        self.site.files = {"/simple/torch/": link.encode(), f"/files/{self.wheel.file}": self.body}
        os.environ["PIP_INDEX_URL"] = f"{self.site.url}/simple"

    def given(self) -> None:
        os.environ["MARSERVE_WHEELS"] = str(self.folder)
        (self.folder / self.wheel.file).write_bytes(self.body)

    def names(self) -> set[str]:
        return {path.name for path in self.target.parent.iterdir()}

    @unittest.skipUnless(importlib.util.find_spec("pip"), "this Python has no pip")
    def test_pip_says_where_and_only_what_is_wanted_is_kept(self) -> None:
        self.library.fetch(self.target)
        self.assertTrue(self.library.is_whole(self.target))
        self.assertEqual({path.name for path in (self.target / "lib").iterdir()}, {"libtorch_cpu.so", "libtorch.so"})
        self.assertEqual((self.target / "lib/libtorch.so").read_text(), "INPUT(-ltorch_cpu -lc10)\n")
        self.assertEqual(self.names(), {"libtorch", "libtorch.lock"}, "the wheels are gone")
        sums = (self.target / "SHA256SUMS").read_text()
        self.assertEqual(sums, f"{hashlib.sha256(b'library').hexdigest()}  lib/libtorch_cpu.so\n")

    @unittest.skipUnless(importlib.util.find_spec("pip"), "this Python has no pip")
    def test_an_index_that_lacks_the_file_is_named(self) -> None:
        self.site.files = {}
        with self.trouble(self.wheel.file, "pip config list", "is the network up"):
            self.library.fetch(self.target)

    @unittest.skipUnless(importlib.util.find_spec("pip"), "this Python has no pip")
    def test_the_credentials_of_the_index_serve_its_files(self) -> None:
        os.environ["PIP_INDEX_URL"] = f"{self.site.url}/simple".replace("//", "//me:secret@")
        self.library.fetch(self.target)
        self.assertEqual(self.site.secrets[-1], "Basic bWU6c2VjcmV0")

    def test_a_python_without_pip_is_told(self) -> None:
        with mock.patch("importlib.util.find_spec", lambda _: None), self.trouble("apt-get install python3-pip"):
            ask_pip([])

    def test_a_pip_that_has_changed_downloads_by_itself(self) -> None:
        def run(command: list[str], check: bool) -> mock.Mock:
            (Path(command[command.index("--dest") + 1]) / self.wheel.file).write_bytes(self.body)
            return mock.Mock(returncode=0)

        changed = mock.patch.object(fetching, "ask_pip", side_effect=AttributeError("find_all_candidates"))
        with changed, mock.patch.object(pip_index.subprocess, "run", run):
            self.library.fetch(self.target)
        self.assertTrue(self.library.is_whole(self.target))

    def test_given_wheels_are_used_and_kept(self) -> None:
        self.given()
        self.library.fetch(self.target)
        self.assertTrue(self.library.is_whole(self.target))
        self.assertTrue((self.folder / self.wheel.file).exists())
        self.assertEqual(self.site.asked, [])

    def test_given_wheels_that_are_missing_or_wrong_are_named(self) -> None:
        self.given()
        (self.folder / self.wheel.file).write_bytes(b"x")
        with self.trouble(self.wheel.file, "wrong checksum"):
            self.library.fetch(self.target)
        (self.folder / self.wheel.file).unlink()
        with self.trouble("does not hold", self.wheel.file):
            self.library.fetch(self.target)

    def test_too_little_room_is_told_before_anything_is_fetched(self) -> None:
        with mock.patch("shutil.disk_usage", lambda _: mock.Mock(free=10**6)):
            with self.trouble("1 MB free", "make room", "XDG_CACHE_HOME"):
                self.library.fetch(self.target)
        self.assertEqual(self.site.asked, [])

    def test_what_a_kill_left_is_swept_away_and_a_damaged_folder_is_made_anew(self) -> None:
        self.given()
        leftover = self.target.parent / "libtorch.new" / "lib"
        leftover.mkdir(parents=True)
        (self.target / "lib").mkdir(parents=True)
        (self.target / "lib/libtorch_cpu.so").write_bytes(b"lib")
        self.assertFalse(self.library.is_whole(self.target))
        self.library.fetch(self.target)
        self.assertTrue(self.library.is_whole(self.target))
        self.assertEqual(self.names(), {"libtorch", "libtorch.lock"})

    def test_a_library_that_does_not_load_is_not_put_in_place(self) -> None:
        self.given()
        self.loads.side_effect = Trouble("does not load here")
        with self.trouble("does not load here"):
            self.library.fetch(self.target)
        self.assertEqual(self.names(), {"libtorch.lock"})

    def test_a_second_fetch_waits_for_the_first(self) -> None:
        self.given()
        self.target.parent.mkdir()
        calls = []

        def flock(_: object, operation: int) -> None:
            calls.append(operation)
            if operation & fcntl.LOCK_NB:
                raise BlockingIOError

        with mock.patch.object(fcntl, "flock", flock):
            self.library.fetch(self.target)
        self.assertEqual(calls, [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX])
        self.assertIn("another set-up is fetching", self.stderr.getvalue())

    def test_another_machine_is_told_to_bring_its_own(self) -> None:
        with mock.patch("platform.machine", lambda: "aarch64"), self.trouble("aarch64", "set LIBTORCH"):
            self.library.fetch(self.target)

    def test_onnx_runtime_is_one_file_of_its_wheel(self) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("onnxruntime/capi/libonnxruntime.so.9", b"library")
            archive.writestr("onnxruntime/capi/onnxruntime_pybind11_state.so", b"not wanted")
        wheel = OnnxRuntime.wheels[0]._replace(
            sha256=hashlib.sha256(packed.getvalue()).hexdigest(),
            libraries={"onnxruntime/capi/libonnxruntime.so.9": ("lib/libonnxruntime.so", 7)})
        os.environ["MARSERVE_WHEELS"] = str(self.folder)
        (self.folder / wheel.file).write_bytes(packed.getvalue())
        target = self.target.parent / "onnxruntime"
        with mock.patch.multiple(OnnxRuntime, wheels=(wheel,), check_loads=self.loads):
            OnnxRuntime().fetch(target)
            self.assertTrue(OnnxRuntime().is_whole(target))
        self.assertFalse(OnnxRuntime().is_whole(target), "it is not as large as the real one")
        self.assertEqual({path.name for path in (target / "lib").iterdir()}, {"libonnxruntime.so"})
        self.assertEqual(self.names(), {"onnxruntime", "onnxruntime.lock"})

    def test_where_there_is_no_wheel_of_onnx_runtime_the_server_is_told_of_ones_own(self) -> None:
        with mock.patch("platform.machine", lambda: "aarch64"), self.trouble("aarch64", "set ORT_DYLIB_PATH"):
            OnnxRuntime().fetch(self.target)


class Wanted(unittest.TestCase):
    def test_the_files_that_are_wanted_are_those_that_are_looked_for(self) -> None:
        for library in (Libtorch, OnnxRuntime):
            with self.subTest(library.name):
                places = [place for wheel in library.wheels for place, _ in wheel.libraries.values()]
                self.assertIn(library.loads, places)
                self.assertIn(library.version, [wheel.version for wheel in library.wheels])


if __name__ == "__main__":
    unittest.main()
