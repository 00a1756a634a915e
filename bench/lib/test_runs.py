"""Tests with servers of a few lines of Python and a stand-in for oha: started, found right, loaded, stopped."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import answers  # noqa: E402
import measure  # noqa: E402
import peer  # noqa: E402
import processes  # noqa: E402
import report  # noqa: E402
import running  # noqa: E402
from jobs import JOBS  # noqa: E402
from results_for_tests import results  # noqa: E402

BY_NAME = {job.name: job for job in JOBS}


class Orphans(unittest.TestCase):
    def test_what_a_dead_parent_leaves_behind_is_ended_too(self):
        # In a process of its own, because what descends from this one is the test's.
        code = (
            "import subprocess, processes, sys, pathlib\n"
            "processes.adopt()\n"
            "orphan = 'import subprocess; subprocess.Popen([\"sleep\", \"600\"], start_new_session=True); print(1, flush=True); input()'\n"
            "server = subprocess.Popen([sys.executable, '-c', orphan], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            "server.stdout.readline()\n"
            "assert len(processes.descendants()) == 2\n"
            "processes.end(server, patience=5)\n"
            "assert processes.descendants() == []\n"
        )
        ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))


class Stub(peer.Peer):
    """A server of a few lines of Python, which answers as it is told."""

    title = "a stub"
    path = "/predict"

    def __init__(self, reply, status=200):
        super().__init__(Path("stub"), "onnx")
        self.reply, self.status = reply, status

    def command(self, job, setting, place):
        code = (
            "import http.server, sys\n"
            "class Handler(http.server.BaseHTTPRequestHandler):\n"
            "    def do_POST(self):\n"
            "        self.rfile.read(int(self.headers['Content-Length']))\n"
            "        body = sys.argv[2].encode()\n"
            "        self.send_response(int(sys.argv[3])); self.send_header('Content-Length', str(len(body))); self.end_headers()\n"
            "        self.wfile.write(body)\n"
            "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n"
        )
        return peer.Command([sys.executable, "-c", code, place.port, self.reply, self.status])


class ServersThatRun(unittest.TestCase):
    """In this process alone: no test beside these has children while they run."""

    job = BY_NAME["empty-tensor"]

    def test_one_that_is_right_is_ready_and_has_gone_afterwards(self):
        with running.Server(Stub(json.dumps(answers.load(self.job))), self.job, peer.Setting()) as server:
            self.assertGreater(server.ready, 0)
            server.check()
            self.assertIn(server.process.pid, server.processes())
        self.assertEqual(processes.descendants(), [])

    def test_one_that_keeps_something_is_started_twice_in_the_same_folder(self):
        stub = Stub(json.dumps(answers.load(self.job)))
        with running.Server(stub, self.job, peer.Setting()) as server:
            self.assertIsNone(server.first)
        command = stub.command

        def noted(job, setting, place):
            run = command(job, setting, place)
            code = f"import pathlib; pathlib.Path('starts').open('a').write('x')\n{run.argv[2]}"
            return peer.Command([*run.argv[:2], code, *run.argv[3:]])

        stub.keeps, stub.command = True, noted
        with running.Server(stub, self.job, peer.Setting()) as server:
            starts = (server.place.folder / "starts").read_text()
            self.assertGreater(server.first, 0)
            self.assertIn(server.process.pid, server.processes())
        self.assertEqual(starts, "xx")
        self.assertEqual(processes.descendants(), [])

    def test_what_it_said_is_published_without_places_of_this_machine(self):
        said = f"\x1b[36mworker\x1b[0m {measure.CACHE}/a.py, {Path.home()}/b.py, {tempfile.gettempdir()}/c.py, {measure.ROOT}/d.py, /usr/e.py"
        self.assertEqual(measure.published(said), "worker CACHE/a.py, ~/b.py, TMP/c.py, ./d.py, /usr/e.py")

    def test_one_that_is_wrong_is_not_timed(self):
        with self.assertRaisesRegex(running.Wrong, "2 numbers, not 3"), running.Server(Stub("[1, 2]"), self.job, peer.Setting()):
            self.fail("it was taken")

    def test_one_that_refuses_the_request_is_not_waited_for(self):
        stub = Stub('{"error": "no such input"}', status=400)
        with self.assertRaisesRegex(running.Wrong, "400: .*no such input"), running.Server(stub, self.job, peer.Setting()):
            self.fail("it was taken")

    def test_one_that_ends_tells_what_it_said(self):
        stub = Stub("")
        stub.command = lambda *_: peer.Command([sys.executable, "-c", "raise SystemExit('no such file')"])
        with self.assertRaisesRegex(running.Trouble, "no such file"), running.Server(stub, self.job, peer.Setting()):
            self.fail("it was taken")


# A stand-in for oha: one client, which asks five times, and writes what oha would.
OHA = """#!{python}
import http.client, json, pathlib, sqlite3, sys, time, urllib.parse
flags = dict(zip(sys.argv, sys.argv[1:]))
url, body = urllib.parse.urlsplit(sys.argv[-1]), pathlib.Path(flags["-D"]).read_bytes()
began, answered = time.monotonic(), []
for _ in range(5):
    connection, start = http.client.HTTPConnection(url.hostname, url.port), time.monotonic()
    connection.request(flags["-m"], url.path, body)
    answer = connection.getresponse()
    answer.read()
    answered.append((answer.status, time.monotonic() - start))
with sqlite3.connect(flags["--db-url"]) as database:
    database.execute("CREATE TABLE oha (status INTEGER, duration REAL)")
    database.executemany("INSERT INTO oha VALUES (?, ?)", answered)
print(json.dumps({{"summary": {{"total": time.monotonic() - began}}, "statusCodeDistribution": {{"200": 5}}, "errorDistribution": {{}}}}))
"""


class WholeRuns(unittest.TestCase):
    """Rounds of a server of a few lines, loaded by a stand-in."""

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        program = Path(folder) / "oha"
        program.write_text(OHA.format(python=sys.executable), encoding="utf-8")
        program.chmod(0o755)
        self.enterContext(mock.patch.dict(os.environ, OHA=str(program)))
        self.enterContext(contextlib.redirect_stderr(io.StringIO()))
        self.plan = measure.Plan(rounds=2, seconds=0.01, warm_up=0.01, rates=1, clients=(1, 8))

    def test_every_round_has_every_load_of_every_server_and_the_page_tells_them(self):
        job = BY_NAME["empty-tensor"]
        right, wrong = Stub(json.dumps(answers.load(job))), Stub("[0, 0, 0]")
        right.configuration = wrong.configuration = lambda *_: "as it comes"
        wrong.form = "torchscript"
        found = measure.measure(job, [right, wrong], peer.Setting(), self.plan, {})
        one = found["entries"]["stub/onnx"]
        self.assertEqual(len(one["rounds"]), 2)
        for told in one["rounds"]:
            self.assertEqual([key.split("-")[0] for key in told["loads"]], ["closed", "closed", "open"])
            self.assertTrue(all(seen["answers"] == 5 and seen["failed"] == 0 and seen["p99"] > 0 for seen in told["loads"].values()))
            self.assertTrue(told["loaded"]["pss"] > 0 and told["ready"] > 0)
        # The wrong one was never loaded.
        other = found["entries"]["stub/torchscript"]
        self.assertEqual(other["rounds"], [])
        self.assertIn("a number is", other["trouble"][0])
        page = report.page({**results(), "jobs": {job.name: found}})
        self.assertIn("| a stub, ONNX | 1 client |", page)
        self.assertIn("- a stub, TorchScript: not measured, see below.", page)

    def test_a_load_that_goes_on_tells_memory_as_it_goes(self):
        job = BY_NAME["empty-tensor"]
        stub = Stub(json.dumps(answers.load(job)))
        with running.Server(stub, job, peer.Setting()) as server:
            later = measure.later(server, 0.0001)
        self.assertGreater(later[0][1], 0)


if __name__ == "__main__":
    unittest.main()
