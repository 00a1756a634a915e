"""One server that runs for one job: packed, started, found right, measured from outside, and stopped."""

import contextlib
import http.client
import socket
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

import answers
import processes
from peer import Place, clean_environment

PATIENCE = 180  # seconds for a server to be ready
PAUSE = 0.01  # between two tries
REFUSED = (400, 413, 415, 422)  # which no later request will change


class Trouble(Exception):
    """What the reader has to be told, in a sentence."""


class Wrong(Trouble):
    """A server whose answer is not the right one is not timed."""


def free_ports(count):
    """Ports that nobody listens on; all are held until the last is found, so that no two are the same."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(one.getsockname()[1] for one in sockets)


def ask(base, request, timeout=PATIENCE):
    """(status, headers with lower-case names, body) over a connection of its own."""
    host = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=timeout)
    try:
        connection.request(request.method, request.path, body=request.body, headers=request.headers)
        told = connection.getresponse()
        return told.status, {name.lower(): value for name, value in told.getheaders()}, told.read()
    finally:
        connection.close()


class Server:
    """A peer that serves a job, as a context: `packed`, `ready` (seconds), `base`, `request`, `processes()`.

    One that keeps something for its next start is started twice: `first` is how long the start took that found nothing.
    """

    def __init__(self, peer, job, setting):
        self.peer, self.job, self.setting = peer, job, setting
        self.packed = self.first = None
        self.held = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.begin()
            return self
        except BaseException:
            self.held.close()
            raise

    def __exit__(self, *_):
        self.held.close()

    def begin(self):
        folder = Path(self.held.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        self.place = Place(folder, free_ports(self.peer.ports))
        self.said = folder / "server.log"
        command = self.prepare()
        if self.peer.keeps and self.job:
            self.run(command)
            self.end()
            self.first = self.ready
        self.run(command)

    def run(self, command):
        """Starts the server, and waits until it is ready."""
        folder = self.place.folder
        environment = {**clean_environment(self.setting), "TMPDIR": str(folder), **command.environment}
        with self.said.open("ab") as log:
            began = time.monotonic()
            self.process = subprocess.Popen(
                [str(part) for part in command.argv], cwd=folder, env={name: str(value) for name, value in environment.items()},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.held.callback(self.end)
        self.wait(began)

    def prepare(self):
        """Packs, and tells the command."""
        began = time.monotonic()
        made = self.peer.pack(self.job, self.setting, self.place.folder)
        if made is not None:
            self.packed = {"seconds": time.monotonic() - began, "bytes": processes.tree_bytes([Path(made)])}
        self.request, self.base = self.peer.request(self.job), self.peer.base(self.place)
        return self.peer.command(self.job, self.setting, self.place)

    def wait(self, began):
        """Until the first right answer; a wrong one, or a process that ended, is trouble at once."""
        problem = "it never listened"
        while time.monotonic() < began + PATIENCE:
            if self.process.poll() is not None:
                raise Trouble(f"{self.peer.name} ended with {self.process.returncode}:\n{self.tail()}")
            try:
                status, headers, body = ask(self.base, self.request)
            except (OSError, http.client.HTTPException) as error:
                problem = str(error) or type(error).__name__
            else:
                if status == 200:
                    self.ready = time.monotonic() - began
                    self.judge(headers, body)
                    return
                problem = f"status {status}: {body[:300].decode(errors='replace')}"
                if status in REFUSED:
                    raise Wrong(f"{self.peer.name} does not take the request of {self.job.name}: {problem}")
            time.sleep(PAUSE)
        raise Trouble(f"{self.peer.name} was not ready after {PATIENCE} s: {problem}\n{self.tail()}")

    def judge(self, headers, body):
        try:
            found = self.peer.answer(self.job, headers, body)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Wrong(f"{self.peer.name} answers {self.job.name} with what cannot be read: {error!r}: {body[:200]!r}") from error
        problem = answers.difference(self.job, answers.load(self.job), found)
        if problem:
            raise Wrong(f"{self.peer.name} answers {self.job.name} wrongly: {problem}")

    def check(self):
        """Asks once more, and holds the answer against the right one."""
        status, headers, body = ask(self.base, self.request)
        if status != 200:
            raise Wrong(f"{self.peer.name} answers {self.job.name} with status {status}: {body[:300].decode(errors='replace')}")
        self.judge(headers, body)

    def url(self):
        return self.base + self.request.path

    def processes(self):
        """All of the server's: what else descends from this process is none of a moment when nothing else runs."""
        return processes.descendants()

    def tail(self, size=3000):
        text = self.said.read_bytes()[-size:].decode(errors="replace")
        return text or "(it said nothing)"

    def end(self):
        processes.end(self.process)


class Idle(Server):
    """A peer's server without a model, once it listens and has done what it does then."""

    def __init__(self, peer, setting):
        super().__init__(peer, None, setting)

    def prepare(self):
        command = self.peer.idle_command(self.setting, self.place)
        if command is None:
            raise Trouble(f"{self.peer.name} does not run without a model")
        return command

    def wait(self, began):
        while self.process.poll() is None and time.monotonic() < began + PATIENCE:
            try:
                socket.create_connection(("127.0.0.1", self.place.port), timeout=1).close()
            except OSError:
                time.sleep(PAUSE)
                continue
            time.sleep(1)
            return
        raise Trouble(f"{self.peer.name} without a model never listened:\n{self.tail()}")
