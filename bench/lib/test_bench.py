"""Tests of what needs no server: what oha tells, ratios and spreads, answers, /proc, the page. Standard library alone."""

import contextlib
import io
import json
import os
import sqlite3
import struct
import sys
import tempfile
import unittest
import zipfile
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import answers  # noqa: E402
import checks  # noqa: E402
import command  # noqa: E402
import floors  # noqa: E402
import load  # noqa: E402
import measure  # noqa: E402
import peer  # noqa: E402
import processes  # noqa: E402
import report  # noqa: E402
from jobs import JOBS, Tensor  # noqa: E402
from results_for_tests import entry, results  # noqa: E402

BY_NAME = {job.name: job for job in JOBS}


def told(total=2.0, statuses=None, errors=None):
    """oha's JSON, of what is read here."""
    return {"summary": {"total": total}, "statusCodeDistribution": statuses or {}, "errorDistribution": errors or {}}


class WhatOhaSaw(unittest.TestCase):
    def test_rates_and_percentiles_are_of_the_answers_that_are_right(self):
        answered = [(200, 0.001 * at) for at in range(1, 101)] + [(200, 0.25), (503, 0.0001)]
        seen = load.seen(told(statuses={"200": 101, "503": 1}), answered)
        self.assertEqual(seen["answers"], 101)
        self.assertEqual(seen["throughput"], 50.5)
        self.assertEqual(seen["goodput"], 50.0)
        self.assertAlmostEqual(seen["p50"], 51)
        self.assertAlmostEqual(seen["p99"], 100)
        self.assertAlmostEqual(seen["p99.9"], 250)
        self.assertEqual(seen["statuses"], {"200": 101, "503": 1})
        self.assertEqual(seen["failed"], 1)

    def test_requests_without_an_answer_are_failures_by_their_name(self):
        seen = load.seen(told(statuses={"200": 1}, errors={"connection refused": 3}), [(200, 0.5)])
        self.assertEqual((seen["failed"], seen["errors"]), (3, {"connection refused": 3}))

    def test_where_nothing_was_answered_there_are_no_times(self):
        seen = load.seen(told(errors={"connection refused": 3}), [])
        self.assertEqual((seen["throughput"], seen["p50"], seen["slowest"]), (0, None, None))

    def test_answers_that_were_not_kept_are_no_measurement(self):
        with self.assertRaisesRegex(RuntimeError, "counts"):
            load.seen(told(statuses={"200": 2}), [(200, 0.1)])

    def test_a_quantile_is_one_of_the_values(self):
        self.assertEqual([load.quantile([1, 2, 3, 4], part) for part in (0, 0.25, 0.5, 0.51, 0.99, 1)], [1, 1, 2, 3, 4, 4])

    def test_the_database_of_a_run_without_answers_has_no_table(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "answers"
            self.assertEqual(load.rows(file), [])
            with contextlib.closing(sqlite3.connect(file)) as database, database:
                database.execute("CREATE TABLE oha (url TEXT, duration REAL, status INTEGER)")
                database.execute("INSERT INTO oha VALUES ('u', 0.5, 200)")
            self.assertEqual(load.rows(file), [(200, 0.5)])

    def test_a_request_becomes_a_command_line(self):
        asked = peer.Request("/p", b"x", {"Content-Type": "image/png", "X-Shape": "4"})
        closed = load.arguments("http://h/p", asked, "body", load.Load(0.2, 8), "db")
        self.assertEqual(closed[-3:], ["-c", "8", "http://h/p"])
        self.assertIn("200ms", closed)
        self.assertEqual(closed[closed.index("-T") + 1], "image/png")
        self.assertEqual(closed[closed.index("-H") + 1], "X-Shape: 4")
        opened = load.arguments("http://h/p", asked, "body", load.Load(1, rate=12.5), "db")
        self.assertEqual(opened[opened.index("-q") + 1], "12.5")
        self.assertIn("--latency-correction", opened)


class WhatAnswersSay(unittest.TestCase):
    def png(self, pixels, depth, filters):
        """A grey PNG, written here: rows of packed levels, each with its filter's number and already filtered bytes."""
        height, width = len(pixels), len(pixels[0]) if depth == 8 else 8 * len(pixels[0]) // depth
        part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
        head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
        rows = b"".join(bytes([kind, *row]) for kind, row in zip(filters, pixels, strict=True))
        return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")

    def test_every_filter_of_a_png_is_undone(self):
        # Rows that all are 1 2 3 once each filter is undone: as they are, left, above, the mean of both, Paeth's.
        rows = [[1, 2, 3], [1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]
        rows[3] = [1 - 0, (2 - (1 + 2) // 2) & 255, (3 - (2 + 3) // 2) & 255]
        rows[3][0] = (1 - 1 // 2) & 255
        mask = answers.png(self.png(rows, 8, [0, 1, 2, 3, 4]))
        self.assertEqual((mask.height, mask.width, mask.pixels), (5, 3, bytes([1, 2, 3] * 5)))

    def test_levels_of_few_bits_are_unpacked(self):
        self.assertEqual(answers.png(self.png([[0b00011011]], 2, [0])).pixels, bytes([0, 1, 2, 3]))
        self.assertEqual(answers.png(self.png([[0x5A]], 4, [0])).pixels, bytes([5, 10]))

    def test_what_is_no_png_is_told(self):
        with self.assertRaisesRegex(ValueError, "no PNG"):
            answers.png(b"GIF89a")

    def test_numbers_have_to_be_near_and_as_many(self):
        job = BY_NAME["empty-tensor"]
        self.assertIsNone(answers.difference(job, [1.0, -2.0], [1.001, -2.0]))
        self.assertIn("away", answers.difference(job, [1.0, -2.0], [1.01, -2.0]))
        self.assertIn("3 numbers", answers.difference(job, [1.0, -2.0], [1.0, -2.0, 0.0]))

    def test_a_mask_has_to_have_the_classes_and_the_sides(self):
        job, right = BY_NAME["unet-small"], answers.Mask(2, 1000, bytes(2000))
        self.assertIsNone(answers.difference(job, right, answers.Mask(2, 1000, b"\1\1" + bytes(1998))))
        self.assertIn("right class", answers.difference(job, right, answers.Mask(2, 1000, b"\1\1\1" + bytes(1997))))
        self.assertIn("1000x2", answers.difference(job, right, answers.Mask(1000, 2, bytes(2000))))

    def test_classes_have_to_come_in_order(self):
        job = BY_NAME["resnet18"]
        self.assertIsNone(answers.difference(job, {"a": 0.6, "b": 0.4}, {"a": 0.6, "b": 0.4}))
        self.assertIn("classes", answers.difference(job, {"a": 0.6, "b": 0.4}, {"b": 0.6, "a": 0.4}))

    def test_binary_outputs_follow_the_description(self):
        head = json.dumps({"outputs": [{"name": "y", "parameters": {"binary_data_size": 8}}]}).encode()
        headers = {"inference-header-content-length": str(len(head))}
        self.assertEqual(answers.v2_numbers(head + struct.pack("<2f", 1, -0.5), headers), [1.0, -0.5])
        self.assertEqual(answers.v2_numbers(json.dumps({"outputs": [{"name": "y", "data": [[1], [2]]}]}).encode(), {}), [1.0, 2.0])

    def test_the_right_answers_are_read_and_are_right_themselves(self):
        for job in JOBS:
            if job.expected_file().exists():
                with self.subTest(job.name):
                    right = answers.load(job)
                    self.assertIsNone(answers.difference(job, right, right))


class WhatIsAsked(unittest.TestCase):
    def test_a_tensor_is_the_same_every_time_and_whole(self):
        tensor = Tensor((3, 5000))
        self.assertEqual(len(tensor.values()), 15000)
        self.assertEqual(tensor.values(), Tensor((3, 5000)).values())
        self.assertTrue(all(-1 <= value <= 1 for value in tensor.values()))
        self.assertEqual(len(tensor.bytes()), 4 * 15000)

    def test_numbers_are_nested_by_their_sides(self):
        nested = json.loads(BY_NAME["tabular-json"].body())
        self.assertEqual(len(nested), 16)

    def test_a_binary_request_says_where_its_numbers_begin(self):
        asked = peer.v2_request(BY_NAME["tabular-v2"], "m")
        at = int(asked.headers["Inference-Header-Content-Length"])
        self.assertEqual(json.loads(asked.body[:at])["inputs"][0]["shape"], [1, 16])
        self.assertEqual(len(asked.body) - at, 64)

    def test_what_the_quick_jobs_need_is_in_the_repository(self):
        for job in JOBS:
            if job.quick:
                self.assertEqual(job.made(), [], job.name)
                self.assertTrue(job.expected_file().exists() and job.network.file("onnx").exists() and job.body())

    def test_an_input_has_the_name_that_its_file_has(self):
        resnet = BY_NAME["resnet18"].network
        self.assertEqual(resnet.input_in("onnx"), "input")
        self.assertEqual(resnet.input_in("torchscript"), "x", "torchvision's forward(self, x)")
        for job in JOBS:
            network = job.network
            with self.subTest(job.name), contextlib.suppress(FileNotFoundError), zipfile.ZipFile(network.file("torchscript")) as file:
                code = [file.read(name).decode() for name in file.namelist() if "/code/" in name and name.endswith(".py")]
                self.assertTrue(any(f"{network.input_in('torchscript')}: Tensor" in text for text in code))

    def test_every_peer_has_what_is_asked_of_it(self):
        for name, one in peer.discover().items():
            with self.subTest(name):
                self.assertTrue(one.title)
                self.assertEqual(name.split("/")[0], one.folder.name)
                for job in JOBS:
                    if one.cannot(job) is None and not job.made():
                        self.assertTrue(one.request(job).path.startswith("/"))
                        self.assertTrue(one.configuration(job, peer.Setting()))


class WhatProcessesCost(unittest.TestCase):
    def test_a_name_with_brackets_and_blanks_does_not_shift_the_fields(self):
        line = "7 (a) b (c) S 3 " + " ".join(str(at) for at in range(5, 14)) + " 100 200 30 40 0 0"
        self.assertEqual(processes.stat(line), (3, 370 / processes.TICK))

    def test_a_family_is_all_that_descend(self):
        self.assertEqual(processes.family(2, {2: 1, 3: 2, 4: 3, 5: 1, 6: 4}), {2, 3, 4, 6})

    def test_shared_pages_are_told_from_those_of_its_own(self):
        text = "560-7ff ---p 0 00:00 0 [rollup]\nRss:      2048 kB\nPss:      1024 kB\nPss_Anon:  12 kB\n"
        self.assertEqual((processes.rollup(text)["Rss"], processes.rollup(text)["Pss"]), (2 << 20, 1 << 20))

    def test_this_process_has_memory_and_took_time(self):
        proportional, resident = processes.memory([os.getpid()])
        self.assertTrue(0 < proportional <= resident)
        self.assertGreater(processes.processor_seconds([os.getpid()]), 0)

    def test_files_count_once_however_many_names_they_have(self):
        with tempfile.TemporaryDirectory() as folder:
            first = Path(folder) / "first"
            first.write_bytes(bytes(100_000))
            alone = processes.tree_bytes([first])
            (Path(folder) / "second").hardlink_to(first)
            self.assertEqual(processes.tree_bytes([first, Path(folder) / "second"]), alone)


class WhatMustHold(unittest.TestCase):
    def check(self, found, words):
        return next(check for check in checks.checks(found) if words in check.title)

    def test_ratios_are_formed_round_by_round_and_their_median_counts(self):
        found = results(marserve_torchscript=entry("m", 3000, 2600, 5200), torchserve_torchscript=entry("t", 100, 100, 200))
        check = self.check(found, "JSON, 8 clients: throughput")
        self.assertEqual((check.values, check.holds()), ([30, 26, 26], True))
        found = results(marserve_torchscript=entry("m", 2400, 2600, 4800), torchserve_torchscript=entry("t", 100, 100, 200))
        self.assertIs(self.check(found, "JSON, 8 clients: throughput").holds(), False)

    def test_a_round_that_failed_is_left_out_with_its_twin(self):
        found = results(marserve_torchscript=entry("m", 3000, None, 5200), torchserve_torchscript=entry("t", 100, 100, 200))
        self.assertEqual(self.check(found, "JSON, 8 clients: throughput").values, [30, 26])

    def test_what_was_not_measured_is_no_miss(self):
        check = self.check(results(marserve_torchscript=entry("m", 3000)), "JSON, 8 clients: throughput")
        self.assertIsNone(check.holds())

    def test_the_best_of_our_forms_is_held_against_the_best_of_theirs(self):
        found = results(marserve_torchscript=entry("m", 90, 300), marserve_onnx=entry("m", 120, 200),
                        other_onnx=entry("o", 100, 100), other_torchscript=entry("o", 50, 150))
        self.assertEqual(self.check(found, "the best of other").values, [1.2, 2.0])

    def test_a_limit_from_above(self):
        self.assertTrue(checks.Check("", [0.1], most=0.2).holds())
        self.assertFalse(checks.Check("", [0.3], most=0.2).holds())

    def test_the_spread_is_median_and_quartiles(self):
        self.assertEqual(checks.spread([1, None, 2, 3, 4, 5]), (3, 2, 4))
        self.assertEqual(checks.spread([7]), (7, 7, 7))
        self.assertIsNone(checks.spread([None]))


class ThePage(unittest.TestCase):
    def test_it_tells_figures_verdicts_and_what_each_was_configured_to(self):
        page = report.page(results(marserve_torchscript=entry("m", 3000, 2600, 5200), torchserve_torchscript=entry("t", 100, 100, 200)))
        self.assertIn("| >= 25 | 26 (26 to 28) | held |", page)
        self.assertIn("| m | 8 clients | 3000 (2800 to 4100) | 1 | 2 | 3 |", page)
        self.assertIn("the bare runtime in a loop, TorchScript", page)
        self.assertIn("1 worker of 2 threads", page)
        self.assertIn("Left out: ray/onnx, because there is no `ray`.", page)
        self.assertIn("**empty-tensor, m.** as it comes", page)
        self.assertIn("Nothing: every request of every round was answered with 200.", page)

    def test_it_hides_no_failure(self):
        bad = entry("m", 3000)
        bad["rounds"][0]["loads"]["closed-8"].update(failed=5, statuses={"200": 1, "503": 4}, errors={"timeout": 1})
        cannot = entry("c", cannot="speaks no v2 binary tensors")
        broken = entry("b", None, trouble=["b ended with 1:\nno such file"])
        page = report.page(results(marserve_torchscript=bad, other_onnx=cannot, broken_onnx=broken))
        self.assertIn("round 1, closed-8: 4 times 503, 1 times timeout", page)
        self.assertIn("- c: speaks no v2 binary tensors.", page)
        self.assertIn("b ended with 1:\nno such file", page)

    def test_digits(self):
        values = {0: "0", 0.01234: "0.0123", 1.005: "1", 99.44: "99.4", 123.4: "123", 12345.6: "12346"}
        self.assertEqual([report.short(value) for value in values], list(values.values()))


class WhatIsChosen(unittest.TestCase):
    def choose(self, *arguments):
        jobs, peers = command.chosen(command.parsed(list(arguments)), peer.discover())
        return [job.name for job in jobs], [one.name for one in peers]

    def test_quick_is_torchserve_alone(self):
        jobs, peers = self.choose("--quick")
        self.assertEqual(jobs, ["empty-tensor", "empty-png", "unet-small"])
        self.assertEqual({name.split("/")[0] for name in peers}, {"marserve", "torchserve"})

    def test_a_peer_is_a_server_or_one_of_its_forms(self):
        self.assertEqual(self.choose("--peers", "marserve/onnx")[1], ["marserve/onnx"])
        self.assertEqual(self.choose("--peers", "marserve")[1], ["marserve/torchscript", "marserve/torchscript-batched", "marserve/onnx"])

    def test_what_is_not_there_is_told_with_what_is(self):
        with self.assertRaisesRegex(ValueError, "no peer nginx; known: .*marserve"):
            self.choose("--peers", "nginx")
        with self.assertRaisesRegex(ValueError, "no job x; known: empty-tensor"):
            self.choose("--jobs", "x")

    def test_results_of_the_day_are_added_to_where_they_were_measured_alike(self):
        with tempfile.TemporaryDirectory() as folder:
            begun = lambda *more: command.begun(command.parsed(["--out", folder, *more]))  # noqa: E731
            self.assertEqual(begun("--add")["jobs"], {}, "there is nothing yet")
            before = begun()
            before["jobs"] = results(marserve_onnx=entry("m", 1))["jobs"]
            command.write(before, Path(folder))
            self.assertEqual(begun()["jobs"], {}, "without being asked to, it replaces what is there")
            self.assertEqual(begun("--add"), before)
            with self.assertRaisesRegex(ValueError, r"its setting is \{'workers': 1.*and here it is \{'workers': 2.*give another --out"):
                begun("--add", "--workers", "2")

    def test_numbers_that_measure_nothing_are_refused(self):
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            command.parsed(["--rounds", "-1"])

    def test_rates_are_the_same_for_all_and_of_servers(self):
        self.assertEqual(measure.fixed_rates({"a/onnx": 100.0, "b/onnx": 2468.0, "floor/actix": 9e9}, 2), [50, 1200])
        self.assertEqual(measure.fixed_rates({"a/onnx": 100.0, "b/onnx": 2468.0}, 1), [50])
        self.assertEqual(measure.fixed_rates({}, 2), [])

    def test_of_a_file_that_runs_in_several_ways_the_fastest_counts(self):
        rows = [{"file": "a.pt", "milliseconds": {"median": 3}}, {"file": "a.pt", "milliseconds": {"median": 2}},
                {"file": "b.onnx", "milliseconds": {"median": 1}}, {"file": "a.pt", "error": "it does not load"}]
        self.assertEqual(floors.fastest({"rows": rows}, "a.pt")["milliseconds"]["median"], 2)
        with self.assertRaisesRegex(RuntimeError, "nothing of c.pt"):
            floors.fastest({"rows": rows}, "c.pt")


if __name__ == "__main__":
    unittest.main()
