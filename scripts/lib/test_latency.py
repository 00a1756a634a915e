#!/usr/bin/env python3
"""Tests of what scripts/overhead measures with: the client against a server of the test's own, and the words."""

import json
import socket
import struct
import tempfile
import threading
import unittest
from pathlib import Path

from latency import Connection, Rounds, content_length, npy, replaced, table, tensor_request


class Answering:
    """Answers each request with these bytes, in as many pieces as there are."""

    def __init__(self, *pieces):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.pieces, self.got = pieces, []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        connection, _ = self.listener.accept()
        with connection:
            while data := connection.recv(1 << 16):
                self.got.append(data)
                for piece in self.pieces:
                    connection.sendall(piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join()
        self.listener.close()


class Latency(unittest.TestCase):
    def test_an_answer_is_read_to_its_end_over_one_connection(self):
        with Answering(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 5\r\n\r\nab", b"cde") as server:
            with Connection(server.url) as connection:
                request = connection.request("/x", b"body", Content_Type="text/plain")
                self.assertEqual(bytes(connection.ask(request)), b"abcde")
                times, own = connection.times(request, 0, least=4)
        self.assertEqual(len(times), 4)
        self.assertTrue(all(time > 0 for time in times))
        self.assertTrue(0 < own <= 1.5 * sum(times))
        self.assertEqual(len(server.got), 5)
        self.assertIn(b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:", server.got[0])
        self.assertTrue(server.got[0].endswith(b"Content-Length: 4\r\nContent-Type: text/plain\r\n\r\nbody"))

    def test_an_answer_that_is_no_success_is_no_figure(self):
        with self.assertRaisesRegex(RuntimeError, "503 Service Unavailable"):
            content_length(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1\r\n\r\n")
        with self.assertRaisesRegex(RuntimeError, "no Content-Length"):
            content_length(b"HTTP/1.1 200 OK\r\n\r\n")

    def test_a_tensor_is_read_and_sent(self):
        data = struct.pack("<6f", *range(6))
        head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "x.npy"
            file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)
            self.assertEqual(npy(file), ([2, 3], data))
            file.write_bytes(file.read_bytes().replace(b"<f4", b"<f8"))
            with self.assertRaisesRegex(ValueError, "holds <f8"):
                npy(file)
        body, length = tensor_request("x", [2, 3], data)
        self.assertEqual(json.loads(body[:length])["inputs"][0]["parameters"], {"binary_data_size": 24})
        self.assertEqual(body[length:], data)

    def test_rounds_are_told_by_their_median_and_quartiles(self):
        rounds = Rounds()
        rounds.add(4)
        self.assertEqual(rounds.told("ms"), "4.00 ms")
        for value in (1, 2, 3, 5):
            rounds.add(value)
        self.assertEqual(rounds.told("ms"), "3.00 ms (2.00 to 4.00)")
        self.assertEqual(table(["a"], [["b", "1"]]), "|  | a |\n| --- | --- |\n| b | 1 |")

    def test_a_block_of_a_document_is_replaced_and_nothing_else(self):
        begin, end = "<!-- x: written by scripts/x -->\n", "<!-- end of x -->\n"
        text = f"before\n{begin}old\n{end}after\n"
        self.assertEqual(replaced(text, "x", "new\n"), f"before\n{begin}\nnew\n\n{end}after\n")
        self.assertEqual(replaced(replaced(text, "x", "new"), "x", "new"), replaced(text, "x", "new"))
        with self.assertRaisesRegex(ValueError, "no block"):
            replaced("before\n", "x", "new")


if __name__ == "__main__":
    unittest.main()
