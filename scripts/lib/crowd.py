"""Many connections to one server, driven by one thread: as a closed loop, or at a rate whatever the server takes.
Standard library alone.

Of an answer no more is looked at than its status and its length. A connection has one request on its way at most.
"""

import collections
import re
import resource
import select
import socket
import time
import urllib.parse
from array import array

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
# How long, in seconds, a wait for answers is at most before it is looked at what else there is to do.
PAUSE = 0.1
# What is counted where there was no answer.
BROKEN, UNANSWERED = 0, -1


def room_for(connections):
    """How many connections this process can really have, once it has asked for as many files as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return min(connections, most - 100) if most != resource.RLIM_INFINITY else connections


class Told:
    """What came of a run: how often each status, how long those took in milliseconds, and what this client itself worked."""

    def __init__(self):
        self.statuses = collections.Counter()
        self.times = collections.defaultdict(lambda: array("d"))
        self.seconds = self.own = 0.0

    def add(self, status, seconds=None):
        self.statuses[status] += 1
        if seconds is not None:
            self.times[status].append(1e3 * seconds)

    def rate(self, status=200):
        """Answers of this status in a second."""
        return self.statuses[status] / self.seconds

    def quantile(self, part, status=200):
        """Milliseconds that this share of the answers took at most."""
        return quantile(sorted(self.times[status]), part)

    def others(self, *expected):
        """What else there was, in words; nothing where there was nothing else."""
        names = {BROKEN: "broken", UNANSWERED: "unanswered"}
        return ", ".join(f"{names.get(status, status)} {count}" for status, count in sorted(self.statuses.items())
                         if status not in expected)


def quantile(values, part):
    """Of sorted values; the nearest one that is there."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


class Line:
    """A connection and the request that is on its way over it."""

    __slots__ = ("socket", "out", "got", "need", "status", "begun", "asked", "closes")

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.asked = 0
        self.clear()

    def clear(self):
        self.out, self.got, self.need, self.status, self.closes, self.begun = None, b"", None, None, False, None

    def send(self):
        """Whether all of the request is on its way."""
        try:
            self.out = self.out[self.socket.send(self.out):]
        except BlockingIOError:
            pass
        return not self.out

    def receive(self):
        """Whether all of the answer is there."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return False
        if not data:
            raise ConnectionResetError("the server closed the connection before the end of its answer")
        if self.need is not None:
            self.need -= len(data)
            return self.need <= 0
        self.got += data
        end = self.got.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = LENGTH.search(self.got, 0, end + 2)
        if length is None:
            raise RuntimeError(f"an answer has no Content-Length: {self.got[:end]!r}")
        self.status = int(self.got[9:12])
        self.closes = CLOSES.search(self.got, 0, end + 2) is not None
        self.need = end + 4 + int(length[1]) - len(self.got)
        return self.need <= 0


class Crowd:
    def __init__(self, url, connections, lifetime=None):
        """`lifetime`: after so many requests a connection is closed and another one opened in its place."""
        parts = urllib.parse.urlsplit(url)
        self.address, self.host, self.lifetime = (parts.hostname, parts.port), parts.netloc, lifetime
        self.clock = time.perf_counter
        self.poll = select.epoll()
        self.lines = {}
        self.idle = collections.deque()
        for _ in range(connections):
            self.open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for line in self.lines.values():
            line.socket.close()
        self.poll.close()

    def open(self):
        line = Line(self.address)
        self.lines[line.socket.fileno()] = line
        self.poll.register(line.socket.fileno(), select.EPOLLIN)
        self.idle.append(line)

    def replace(self, line):
        del self.lines[line.socket.fileno()]
        self.poll.unregister(line.socket.fileno())
        line.socket.close()
        self.open()

    def run(self, request, seconds=None, count=None, rate=None, watch=None, patience=60):
        """Sends what `request()` gives, over every connection that is free, for so long or so often.

        With a rate, one is due every so often, whether those before it are answered or not, and its time begins when it
        is due. `watch` is called with the number of answers so far, again and again. Where nothing is answered for
        `patience` seconds, the run ends, and what is on its way is counted as unanswered. Only waiting counts as that: of a
        machine that stood still, the server cannot have answered either."""
        told, began, own = Told(), self.clock(), time.thread_time()
        if rate is not None:
            count = min(count or 1 << 60, int(rate * seconds))
        end = began + seconds if seconds is not None and rate is None else float("inf")
        left = count if count is not None else float("inf")
        sent, answered, waited, seen = 0, 0, 0.0, began
        while True:
            now = self.clock()
            while self.idle and left > 0 and now < end and (rate is None or began + sent / rate <= now):
                self.begin(self.idle.popleft(), request(), began + sent / rate if rate is not None else now, told)
                sent, left = sent + 1, left - 1
            over = left <= 0 or now >= end
            if over and len(self.idle) == len(self.lines):
                break
            waited, seen = waited + min(now - seen, 2 * PAUSE), now
            if waited > patience:
                self.give_up(told)
                break
            for number, events in self.poll.poll(self.pause(now, began, sent, rate, over)):
                self.advance(self.lines[number], events, told)
            so_far = told.statuses.total()
            if so_far > answered or len(self.idle) == len(self.lines):
                answered, waited = so_far, 0.0
            if watch is not None:
                watch(answered)
        told.seconds, told.own = self.clock() - began, time.thread_time() - own
        return told

    def pause(self, now, began, sent, rate, over):
        """How long there is nothing to send."""
        if rate is None or over or not self.idle:
            return PAUSE
        return min(PAUSE, max(0.0, began + sent / rate - now))

    def begin(self, line, request, begun, told):
        line.clear()
        line.out, line.begun = memoryview(request), begun
        line.asked += 1
        try:
            if not line.send():
                self.poll.modify(line.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except ConnectionError:
            told.add(BROKEN)
            self.replace(line)

    def advance(self, line, events, told):
        try:
            if line.begun is None:
                # Nothing was asked: the server closed a connection over which nothing went.
                self.idle.remove(line)
                self.replace(line)
                return
            if events & select.EPOLLOUT and line.out and line.send():
                self.poll.modify(line.socket.fileno(), select.EPOLLIN)
            if events & ~select.EPOLLOUT and line.receive():
                self.end(line, told)
        except ConnectionError:
            told.add(BROKEN)
            self.replace(line)

    def end(self, line, told):
        told.add(line.status, self.clock() - line.begun)
        if line.closes or line.out or self.lifetime is not None and line.asked >= self.lifetime:
            self.replace(line)
        else:
            line.clear()
            self.idle.append(line)

    def give_up(self, told):
        for line in list(self.lines.values()):
            if line.begun is not None:
                told.add(UNANSWERED)
                self.replace(line)
