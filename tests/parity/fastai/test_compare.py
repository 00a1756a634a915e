"""Whether a difference that matters is seen. Without FastAI."""

import json
import tempfile
import unittest
from pathlib import Path

import compare
from compare import Tally

KNOWN = {"input": "a.jpg", "labels": ["cat"], "probabilities": {"dog": 0.3, "cat": 0.6, "bird": 0.1}}


def tally(kind, known, served, folder=Path(".")):
    of = Tally()
    body = served if isinstance(served, bytes) else json.dumps(served).encode()
    compare.compare(of, kind, known, body, folder)
    return of


class Labels(unittest.TestCase):
    def test_equal_answers_are_equal(self):
        found = tally("label", KNOWN, {"cat": 0.60003, "dog": 0.29998, "bird": 0.09999})
        self.assertEqual((found.missed, found.same, found.inputs), ([], 1, 1))
        self.assertAlmostEqual(found.worst, 3e-5)

    def test_a_probability_that_is_too_far_is_missed(self):
        found = tally("label", KNOWN, {"cat": 0.6002, "dog": 0.2998, "bird": 0.1})
        self.assertIn("differ by 2.0e-04", found.missed[0])
        self.assertEqual(found.same, 0)

    def test_labels_that_changed_places_are_missed(self):
        self.assertTrue(tally("label", KNOWN, {"dog": 0.6, "cat": 0.3, "bird": 0.1}).missed)
        near = KNOWN | {"probabilities": {"dog": 0.30001, "cat": 0.6, "bird": 0.3}}
        self.assertIn("order", tally("label", near, {"cat": 0.6, "bird": 0.30001, "dog": 0.30001}).missed[0])

    def test_equal_probabilities_have_no_order(self):
        even = KNOWN | {"probabilities": {"dog": 0.2, "cat": 0.6, "bird": 0.2 + 1e-9}}
        self.assertEqual(tally("label", even, {"cat": 0.6, "dog": 0.2, "bird": 0.2}).missed, [])

    def test_a_label_that_lacks_or_has_another_name_is_missed(self):
        self.assertTrue(tally("label", KNOWN, {"cat": 0.6, "dog": 0.3}).missed)
        self.assertTrue(tally("labels", KNOWN, {"Cat": 0.6, "dog": 0.3, "bird": 0.1}).missed)

    def test_the_labels_that_are_chosen_are_all_of_them_and_no_more(self):
        for served, good in (({"cat": 0.6}, True), ({}, False), ({"cat": 0.6, "dog": 0.5}, False)):
            of = Tally()
            compare.chosen(of, KNOWN, json.dumps(served).encode())
            self.assertEqual(not of.missed, good, served)

    def test_an_answer_of_another_form_is_missed(self):
        for served in (b"no JSON", [0.6, 0.3, 0.1], {"cat": "0.6", "dog": 0.3, "bird": 0.1}, {}):
            for kind in ("label", "labels", "row label"):
                self.assertTrue(tally(kind, KNOWN, served).missed, (kind, served))


class Masks(unittest.TestCase):
    def test_pixels_are_counted(self):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "m").write_bytes(bytes([1, 2] * 1000))
            known = {"input": "a.jpg", "mask": "m", "shape": [40, 50]}
            same, few, many = (bytes(n) + bytes([1, 2] * 1000)[n:] for n in (0, 2, 3))
            self.assertEqual(tally("mask", known, same, folder).agreement, 1.0)
            self.assertEqual(tally("mask", known, few, folder).missed, [])
            self.assertIn("99.8500%", tally("mask", known, many, folder).missed[0])
            self.assertIn("1999 pixels", tally("mask", known, same[1:], folder).missed[0])


class Numbers(unittest.TestCase):
    def test_numbers_may_be_off_by_a_part_of_themselves(self):
        known = {"input": "a.jpg", "numbers": [200.0, -0.5]}
        self.assertEqual(tally("numbers", known, [200.01, -0.50004]).missed, [])
        self.assertEqual(tally("numbers", known, {"x": 200.0, "y": -0.5}).worst, 0.0)
        for served in ([200.03, -0.5], [200.0, -0.5001], [200.0], [200.0, None], [200.0, 0.5]):
            self.assertTrue(tally("numbers", known, served).missed, served)
        self.assertEqual(tally("row number", known | {"numbers": [3.0]}, 3.0).missed, [])


class Batches(unittest.TestCase):
    def test_what_a_batch_changes_is_told(self):
        alone = b'{"cat": 0.6, "dog": 0.4}'
        self.assertIsNone(compare.apart("label", alone, b'{"cat": 0.600001, "dog": 0.399999}'))
        self.assertIsNotNone(compare.apart("label", alone, b'{"cat": 0.61, "dog": 0.39}'))
        self.assertIsNotNone(compare.apart("label", alone, b'{"dog": 0.4, "cat": 0.6}'))
        self.assertIsNone(compare.apart("mask", b"\1\2", b"\1\2"))
        self.assertIsNotNone(compare.apart("mask", b"\1\2", b"\1\3"))
        self.assertIsNotNone(compare.apart("numbers", b"[1, 2]", b"[1, 3]"))


if __name__ == "__main__":
    unittest.main()
