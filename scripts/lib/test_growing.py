#!/usr/bin/env python3
"""Tests of what scripts/growth and scripts/soak measure with: clients against a server of the test's own, lines, the
system's words, and the networks as files."""

import io
import os
import pickletools
import random
import socket
import threading
import time
import unittest
import zipfile
from collections import Counter

import networks
import pictures
import soaking
from crowd import BROKEN, UNANSWERED, Crowd, Told, quantile
from growing import Part, bends, blocks, line, markdown, size
from process import cpu_seconds, parts, status

REQUEST = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"


class Answering:
    """Answers the nth request that it gets with what `answer(n)` gives; None closes the connection, b"" leaves it waiting."""

    def __init__(self, answer):
        self.answer, self.count, self.connections, self.lock = answer, 0, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            while connection.recv(1 << 16):
                with self.lock:
                    number, self.count = self.count, self.count + 1
                answer = self.answer(number)
                if answer is None:
                    return
                connection.sendall(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def answer(status=200, body=b"ok", more=b""):
    return b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(body), body)


class Crowds(unittest.TestCase):
    def test_every_connection_asks_and_every_answer_is_counted(self):
        with Answering(lambda number: answer(503 if number % 4 == 3 else 200, b"x" * 100_000)) as server:
            with Crowd(server.url, 5) as crowd:
                told = crowd.run(lambda: REQUEST, count=40)
        self.assertEqual(told.statuses, {200: 30, 503: 10})
        self.assertEqual(len(told.times[200]), 30)
        self.assertEqual((server.count, server.connections), (40, 5))
        self.assertEqual(told.others(200), "503 10")
        self.assertAlmostEqual(told.rate(), 30 / told.seconds)

    def test_a_connection_that_the_server_closes_is_counted_and_opened_anew(self):
        with Answering(lambda number: None if number == 2 else answer()) as server:
            with Crowd(server.url, 1) as crowd:
                told = crowd.run(lambda: REQUEST, count=6)
        self.assertEqual(told.statuses, {200: 5, BROKEN: 1})
        self.assertEqual(server.connections, 2)

    def test_connections_end_when_told_and_when_they_are_old(self):
        with Answering(lambda number: answer(more=b"Connection: close\r\n") if number == 0 else answer()) as server:
            with Crowd(server.url, 1, lifetime=2) as crowd:
                told = crowd.run(lambda: REQUEST, count=4)
        self.assertEqual(told.statuses, {200: 4})
        # The first was told to end, the second was old after two requests, the third got the last.
        self.assertEqual(server.connections, 3)

    def test_a_server_that_does_not_answer_holds_nobody_up(self):
        with Answering(lambda number: b"" if number else answer()) as server:
            with Crowd(server.url, 3) as crowd:
                self.assertEqual(crowd.run(lambda: REQUEST, count=1).statuses, {200: 1})
                told = crowd.run(lambda: REQUEST, rate=1000, seconds=1, patience=0.2)
        self.assertEqual(told.statuses, {UNANSWERED: 3})
        self.assertEqual(told.others(200), "unanswered 3")

    def test_a_machine_that_stood_still_is_no_server_that_does_not_answer(self):
        leap = []
        with Answering(lambda number: answer()) as server, Crowd(server.url, 1) as crowd:
            crowd.clock = lambda: time.perf_counter() + 1000 * bool(leap)
            told = crowd.run(lambda: REQUEST, count=6, watch=lambda answered: answered == 3 and leap.append(answered))
        self.assertEqual(told.statuses, {200: 6})

    def test_at_a_rate_time_begins_when_a_request_is_due(self):
        gate = threading.Event()

        def answered(number):
            if number == 0:
                gate.wait()
            return answer()

        end = time.perf_counter() + 0.1
        # The first is held until all the others are due, which wait in the client meanwhile.
        release = lambda _: gate.set() if time.perf_counter() > end else None
        with Answering(answered) as server, Crowd(server.url, 1) as crowd:
            told = crowd.run(lambda: REQUEST, rate=100, seconds=0.1, watch=release)
        self.assertEqual(told.statuses, {200: 10})
        # The first was due at once and the last after 90 ms; each has waited for the gate.
        times = list(told.times[200])
        self.assertGreater(times[0], times[5])
        self.assertGreater(times[5], 30)


class Lines(unittest.TestCase):
    def test_a_line_and_how_sure_it_is(self):
        exact = line([1, 2, 4], [5, 7, 11])
        self.assertAlmostEqual(exact.slope, 2)
        self.assertAlmostEqual(exact.at(10), 23)
        self.assertAlmostEqual(exact.half, 0)
        # By hand: the squares of what strays add up to 1.8, those of the places to 5.
        strayed = line([1, 2, 3, 4], [1, 3, 2, 4])
        self.assertAlmostEqual(strayed.slope, 0.8)
        self.assertAlmostEqual(strayed.half, 4.30 * (1.8 / 2 / 5) ** 0.5)
        self.assertEqual(line([1, 2], [1, 2]).half, float("inf"))
        with self.assertRaises(ValueError):
            line([1, 1], [1, 2])

    def test_stretches_have_middles_that_single_samples_do_not_move(self):
        self.assertEqual(blocks([1, 2, 3, 4, 5, 6], [0, 2, 99, 4, 5, 99], 2), ([2, 5], [2, 5]))
        self.assertEqual(blocks([1, 2, 3, 4], [0, 2, 2, 4], 2), ([1.5, 3.5], [1, 3]))
        xs, _ = blocks(list(range(10)), list(range(10)), 3)
        self.assertEqual(len(xs), 3)

    def test_what_grows_as_a_square_bends_and_what_grows_as_a_line_does_not(self):
        xs = [1, 25, 50, 100, 200]
        self.assertFalse(bends(xs, [3 * x + 7 for x in xs], 0)[0])
        self.assertTrue(bends(xs, [x * x for x in xs], 0)[0])
        self.assertFalse(bends([1, 2, 200], [0.1, 0.1, 0.9], 1)[0], "noise is allowed")
        part = Part("p", "P", ["a"])
        part.linear("memory", xs, [3 * x for x in xs], "MB", noise=1)
        part.flat("time", 1.0, 1.5, "ms", noise=0.1)
        self.assertEqual(part.steep, [])
        part.linear("memory", xs, [x * x for x in xs], "MB", noise=1)
        part.flat("time", 1.0, 1.7, "ms", noise=0.1)
        self.assertEqual(len(part.steep), 2)
        self.assertIn("memory is 40000.00 MB at 200", part.steep[0])

    def test_tables_and_sizes(self):
        self.assertEqual(markdown(["a", "b"], [["c", 1]]), "| a | b |\n| --- | ---: |\n| c | 1 |")
        self.assertEqual([size(n) for n in (0, 999, 1000, 123_456, -2_500_000, 3e9)],
                         ["0 B", "999 B", "1.0 kB", "123 kB", "-2.5 MB", "3.00 GB"])

    def test_quantiles_are_values_that_are_there(self):
        told = Told()
        for value in (3, 1, 2, 4):
            told.add(200, value / 1e3)
        self.assertEqual([told.quantile(part) for part in (0, 0.5, 0.99)], [1, 3, 4])
        self.assertNotEqual(quantile([], 0.5), quantile([], 0.5))


class Processes(unittest.TestCase):
    def test_this_process_has_memory_threads_and_work(self):
        now = status(os.getpid())
        self.assertTrue(0 < now["resident"] <= now["most"])
        self.assertGreaterEqual(now["threads"], 1)
        self.assertGreater(cpu_seconds(os.getpid()), 0)

    def test_mappings_are_told_apart(self):
        rest = "Size: 8 kB\nRss: {} kB\nPss: 1 kB\n"
        smaps = ("55d0-55d1 r-xp 00000000 08:01 77 /bin/with space\n" + rest.format(1)
                 + "55d2-55d3 rw-p 00000000 00:00 0 [heap]\n" + rest.format(10)
                 + "7f00-7f01 rw-p 00000000 00:00 0 \n" + rest.format(100)
                 + "7f02-7f03 rw-p 00000000 00:00 0 [stack]\n" + rest.format(1000))
        self.assertEqual(parts(smaps), {"heap": 10 << 10, "anonymous": 1100 << 10, "files": 1 << 10})


class Networks(unittest.TestCase):
    def test_a_module_is_an_object_of_the_archives_own_class(self):
        with zipfile.ZipFile(io.BytesIO(networks.torchscript("slow"))) as archive:
            self.assertEqual(set(archive.namelist()), {f"network/{name}" for name in
                                                       ("data.pkl", "code/__torch__.py", "constants.pkl", "version")})
            code = archive.read("network/code/__torch__.py").decode()
            pickled = archive.read("network/data.pkl")
        self.assertIn("    for _0 in range(60):\n      y = torch.sin(y)\n", code)
        named = [value for kind, value, _ in pickletools.genops(pickled) if kind.name == "GLOBAL"]
        self.assertEqual(named, ["__torch__ Network"])

    def test_fields_are_those_of_protocol_buffers(self):
        # The two examples of the format's own description.
        self.assertEqual(networks.field(1, 150), b"\x08\x96\x01")
        self.assertEqual(networks.field(2, b"testing"), b"\x12\x07testing")


class Pictures(unittest.TestCase):
    def test_sides_stay_within_their_limits_and_are_the_same_for_a_seed(self):
        drawn = [pictures.sides(random.Random(seed)) for seed in range(300)]
        self.assertEqual(drawn, [pictures.sides(random.Random(seed)) for seed in range(300)])
        self.assertTrue(all(16 <= width <= 1600 and 16 <= height <= 1200 for width, height in drawn))
        self.assertLess(sorted(width for width, _ in drawn)[150], 300)


class Soaks(unittest.TestCase):
    def soaked(self, each, statuses, requests=1000, resident=None):
        """What is said of a run whose memory grew by so many bytes with each request; what is resident may hide that."""
        resident = each if resident is None else resident
        soak = soaking.Soak(None, None, requests, 2)
        soak.statuses, soak.done = Counter(statuses), sum(statuses.values())
        soak.samples = [(done, 1_000_000 + resident * done) for done in range(0, soak.done + 1, 5)]
        soak.sent, soak.took, soak.worked, soak.album, soak.pixels = Counter(broken=10), 10.0, 2.0, [b""], 5000
        kinds = {"heap": 1, "anonymous": 2, "files": 3}
        soak.held = [{"done": done, "before": 1_000_000 + resident * done, "after": 1000 + each * done, "parts": kinds}
                     for done in (soak.done * tenth // 10 for tenth in range(1, 11))]
        return soak.report(16)

    def test_memory_that_grows_is_wrong_and_memory_that_does_not_is_fine(self):
        found = self.soaked(0, {200: 990, 400: 10})
        self.assertEqual((found.broken, found.steep), ([], []))
        found = self.soaked(40, {200: 990, 400: 10})
        self.assertEqual(found.broken, [])
        self.assertIn("resident memory grows by 40.0 bytes with each request", found.steep[0])
        self.assertEqual(len(found.steep), 2)

    def test_a_leak_into_memory_that_is_kept_is_found(self):
        found = self.soaked(40, {200: 990, 400: 10}, resident=0)
        self.assertEqual(len(found.steep), 1)
        self.assertIn("without what the C library keeps grows by 40.0 bytes", found.steep[0])

    def test_a_run_that_ended_early_is_wrong_and_counts_what_was_answered(self):
        found = self.soaked(8, {200: 490, 400: 10, UNANSWERED: 2})
        self.assertEqual(found.steep, [])
        self.assertIn("-1: 2", found.broken[0])
        self.assertIn("502 requests over 2 connections", found.before)
        self.assertIn("by 8.0 bytes", found.slopes[0])


if __name__ == "__main__":
    unittest.main()
