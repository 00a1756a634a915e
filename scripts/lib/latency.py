"""One request at a time over one connection, timed from its first byte to the answer's last. Standard library alone.

The client does little: the request is made once, and of the answer no more is looked at than the status and the length. What
the processor does for it is counted, so that it is not taken for the server's.
"""

import ast
import json
import math
import re
import socket
import statistics
import time
import urllib.parse


class Connection:
    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.room = memoryview(bytearray(1 << 23))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def request(self, path, body, **headers):
        """The bytes of a POST."""
        return post(self.host, path, body, **headers)

    def ask(self, request):
        """The answer's body, once all of it is there."""
        self.socket.sendall(request)
        got, head, length = 0, -1, 0
        while head < 0 or got < head + length:
            count = self.socket.recv_into(self.room[got:])
            if count == 0:
                raise ConnectionError("the server closed the connection before the end of its answer")
            got += count
            if head < 0:
                head = bytes(self.room[: min(got, 1 << 14)]).find(b"\r\n\r\n")
                if head >= 0:
                    head += 4
                    length = content_length(bytes(self.room[:head]))
        return self.room[head:got]

    def times(self, request, seconds, least=3):
        """How long each request took, in milliseconds, for so many seconds; and how much of it, on average, the processor
        worked for this client."""
        times, end, own = [], time.perf_counter() + seconds, time.thread_time()
        while len(times) < least or time.perf_counter() < end:
            begun = time.perf_counter()
            self.ask(request)
            times.append(1e3 * (time.perf_counter() - begun))
        return times, 1e3 * (time.thread_time() - own) / len(times)


def post(host, path, body, **headers):
    """The bytes of a POST; a header's name is written with underscores."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def content_length(head):
    """Of an answer that is a success and says its length."""
    if not re.match(rb"HTTP/1\.1 200 ", head):
        raise RuntimeError(f"the server answered {head.splitlines()[0].decode(errors='replace')}")
    length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", head, re.IGNORECASE)
    if length is None:
        raise RuntimeError("the answer has no Content-Length")
    return int(length[1])


def npy(file):
    """The shape and the bytes of a `.npy` file of 32-bit floating-point numbers in C order."""
    data = file.read_bytes()
    if data[:6] != b"\x93NUMPY":
        raise ValueError(f"{file} is no .npy file")
    size, start = (2, 10) if data[6] == 1 else (4, 12)
    end = start + int.from_bytes(data[8 : 8 + size], "little")
    header = ast.literal_eval(data[start:end].decode("latin-1").strip())
    if header["descr"] != "<f4" or header["fortran_order"]:
        raise ValueError(f"{file} holds {header['descr']}, and not 32-bit numbers row by row")
    return list(header["shape"]), data[end:]


def tensor_request(name, shape, data, datatype="FP32"):
    """The body of a request of one tensor whose answer is wanted as bytes, and the length of its JSON."""
    tensor = {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + data, len(head)


class Rounds:
    """A figure that was found out once a round: its median, and how far rounds lie apart."""

    def __init__(self):
        self.values = []

    def add(self, value):
        self.values.append(value)

    def median(self):
        return statistics.median(self.values) if self.values else math.nan

    def told(self, unit):
        """The median, and the quartiles of the rounds."""
        if len(self.values) == 1:
            return f"{self.values[0]:.2f} {unit}"
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return f"{self.median():.2f} {unit} ({low:.2f} to {high:.2f})"


def table(columns, rows):
    """A table of Markdown; a row is its name and as many cells as there are columns."""
    lines = [["", *columns], ["---"] * (len(columns) + 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replaced(text, name, block):
    """A text with another block between the marks of this name."""
    begin, end = f"<!-- {name}: written by scripts/{name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"there is no block between {begin.strip()} and {end.strip()}")
    return before + begin + "\n" + block.strip() + "\n\n" + end + after
