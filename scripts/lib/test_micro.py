#!/usr/bin/env python3
"""Tests of what scripts/micro makes of divan's tables, and of when it says that something has become worse."""

import json
import unittest

from micro import UNIT, combined, compared, in_units, parsed, table, verdict, written

TABLE = """\
queue                     fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ calibration                          │               │               │               │         │
│  ╰─ unit                100 µs        │ 180.5 µs      │ 120 µs        │ 122 µs        │ 100     │ 100
├─ batch_of                             │               │               │               │         │
│  ├─ 8                   2.5 µs        │ 9 µs          │ 2.6 µs        │ 2.7 µs        │ 100     │ 6400
│  │                        max alloc:  │               │               │               │         │
│  │                          26        │ 26            │ 26            │ 26            │         │
│  │                          3.1 KB    │ 3.1 KB        │ 3.1 KB        │ 3.1 KB        │         │
│  │                        alloc:      │               │               │               │         │
│  │                          41        │ 41            │ 41.5          │ 41            │         │
│  │                          2.048 KB  │ 2.048 KB      │ 2.048 KB      │ 2.048 KB      │         │
│  │                        dealloc:    │               │               │               │         │
│  │                          9         │ 9             │ 9             │ 9             │         │
│  │                          900 B     │ 900 B         │ 900 B         │ 900 B         │         │
│  │                        grow:       │               │               │               │         │
│  │                          2         │ 2             │ 2             │ 2             │         │
│  │                          512 B     │ 512 B         │ 512 B         │ 512 B         │         │
│  ╰─ (96, 128)           31.25 ms      │ 40 ms         │ 33 ms         │ 34 ms         │ 8       │ 8
╰─ there_and_back                       │               │               │               │         │
   ├─ t=1                 850.5 ns      │ 2 µs          │ 900 ns        │ 910 ns        │ 100     │ 100
   │                        alloc:      │               │               │               │         │
   │                          6         │ 6             │ 6             │ 6             │         │
   │                          410 B     │ 410 B         │ 410 B         │ 410 B         │         │
   ╰─ t=2                 1.7 µs        │ 4 µs          │ 1.8 µs        │ 1.9 µs        │ 100     │ 200
                            alloc:      │               │               │               │         │
                              7         │ 7             │ 7             │ 7             │         │
                              1.5 MB    │ 1.5 MB        │ 1.5 MB        │ 1.5 MB        │         │

"""


def figures(units, least=None, most=None, calls=0.0, count=0.0):
    return {"seconds": units / 1e4, "units": units, "least": least or units, "most": most or units, "calls": calls, "bytes": count}


class Tables(unittest.TestCase):
    def test_every_benchmark_is_read_with_its_path_its_fastest_time_and_what_it_asked_the_allocator_for(self):
        found = parsed(TABLE)
        self.assertEqual(set(found), {UNIT, "batch_of/8", "batch_of/(96, 128)", "there_and_back/t=1", "there_and_back/t=2"})
        self.assertAlmostEqual(found[UNIT]["seconds"], 100e-6)
        self.assertAlmostEqual(found["batch_of/8"]["seconds"], 2.5e-6)
        # What grows is asked for again, and counts; what is given back does not, nor what lies there at most.
        self.assertAlmostEqual(found["batch_of/8"]["calls"], 43.5)
        self.assertAlmostEqual(found["batch_of/8"]["bytes"], 2560)
        self.assertAlmostEqual(found["batch_of/(96, 128)"]["seconds"], 31.25e-3)
        self.assertEqual(found["batch_of/(96, 128)"]["calls"], 0)
        self.assertAlmostEqual(found["there_and_back/t=1"]["seconds"], 850.5e-9)
        self.assertEqual(found["there_and_back/t=1"]["bytes"], 410)
        self.assertAlmostEqual(found["there_and_back/t=2"]["bytes"], 1.5e6)

    def test_times_are_told_in_units_of_their_own_process(self):
        found = in_units("queue", parsed(TABLE))
        self.assertNotIn(f"queue/{UNIT}", found)
        self.assertAlmostEqual(found["queue/batch_of/8"]["units"], 0.025)
        self.assertAlmostEqual(found["queue/batch_of/(96, 128)"]["units"], 312.5)
        with self.assertRaisesRegex(ValueError, "queue did not say how long calibration/unit takes"):
            in_units("queue", {"batch_of/8": {"seconds": 1}})

    def test_of_several_rounds_the_median_counts_and_how_far_they_lie_apart(self):
        rounds = [{"a": {"seconds": s, "units": u, "calls": c, "bytes": 8.0}} for s, u, c in
                  ((1, 10, 3.0), (9, 90, 3.0), (2, 20, 4.0))]
        self.assertEqual(combined(rounds), {"a": {"seconds": 2, "units": 20, "least": 10, "most": 90, "calls": 3.0, "bytes": 8.0}})


class Verdicts(unittest.TestCase):
    def test_slower_is_what_takes_longer_than_it_may_and_than_it_ever_took(self):
        before = figures(10, 9, 11)
        self.assertEqual(verdict(figures(13, 12, 14), before, 1.25), ("slower", True))
        self.assertEqual(verdict(figures(12, 11.5, 13), before, 1.25), ("same", False))
        self.assertEqual(verdict(figures(13, 10, 20), before, 1.25), ("same", False), "it is no slower than its noise")
        self.assertEqual(verdict(figures(13, 12, 14), before, 2.0), ("same", False))
        self.assertEqual(verdict(figures(7, 6, 8), before, 1.25), ("faster", False))
        self.assertEqual(verdict(figures(7, 6, 9.5), before, 1.25), ("same", False))

    def test_one_allocation_more_is_worse_whatever_the_time(self):
        before = figures(10, calls=6.0, count=400.0)
        self.assertEqual(verdict(figures(5, calls=7.0, count=400.0), before, 1.25), ("faster, allocates more often", True))
        self.assertEqual(verdict(figures(10, calls=6.0, count=440.0), before, 1.25), ("allocates more", True))
        self.assertEqual(verdict(figures(10, calls=6.0, count=410.0), before, 1.25), ("same", False))
        self.assertEqual(verdict(figures(10, calls=5.0, count=400.0), before, 1.25), ("allocates less often", False))
        self.assertEqual(verdict(figures(10, calls=1.0, count=8.0), figures(10), 1.25), ("allocates more often, allocates more", True))

    def test_what_is_new_is_told_and_what_is_gone_is_bad(self):
        rows = compared({"a": figures(1), "b": figures(2)}, {"b": figures(2), "c": figures(3)}, 1.25)
        self.assertEqual([(name, said, bad) for name, _, _, said, bad in rows],
                         [("a", "new", False), ("b", "same", False), ("c", "gone", True)])
        lines = table(rows).splitlines()
        self.assertEqual(len(lines), 4)
        self.assertRegex(lines[2], r"^b +200 µs +2 +2 +2 +2 +1\.00 +none +none +same$")
        self.assertRegex(lines[3], r"^c +3 +none +gone$")

    def test_what_several_threads_do_may_be_slower_by_more(self):
        now, before = ({f"queue/back/t={threads}": figures(units) for threads in (1, 2, 16)} for units in (19, 10))
        self.assertEqual([said for _, _, _, said, _ in compared(now, before, 1.25)], ["slower", "same", "same"])

    def test_a_baseline_reads_back_a_line_a_benchmark(self):
        text = written({"b": figures(1.23456, 1, 2, 3, 4), "a": figures(2e-5)}, "A processor", 5)
        kept = json.loads(text)
        self.assertEqual((kept["processor"], kept["rounds"]), ("A processor", 5))
        self.assertEqual(kept["benchmarks"]["b"], {"units": 1.235, "least": 1, "most": 2, "calls": 3, "bytes": 4})
        self.assertEqual(len(text.splitlines()), 8)
        self.assertLess(text.index('"a"'), text.index('"b"'))


if __name__ == "__main__":
    unittest.main()
