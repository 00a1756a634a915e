"""Checks of what is not waited for: many requests at once, time-outs, cancelled requests, streams."""

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tritonclient.utils import InferenceServerException

from checks import holds, raised, same, true, until
from triton_clients import Grpc, Http

MANY = 16
STREAMS = 1000


def sums(number):
    """A request for the sum of 0..15 and a number, and the answer."""
    first = np.arange(16, dtype=np.int32)[None]
    return {"INPUT0": first, "INPUT1": np.full((1, 16), number, np.int32)}, first + number


def tensors(face, inputs):
    return [face.input(name, value) for name, value in inputs.items()]


def many_over_http(server):
    face = Http(server.http, True, concurrency=4)
    asked = [face.client.async_infer("simple", tensors(face, sums(number)[0])) for number in range(MANY)]
    for number, request in enumerate(asked):
        same(f"request {number}", request.get_result().as_numpy("OUTPUT0"), sums(number)[1])
    face.close()
    gathered(Http(server.http, False))


def many_over_grpc(server):
    face, answers = Grpc(server.grpc, True), queue.Queue()
    for number in range(MANY):
        back = lambda result, error, number=number: answers.put((number, result, error))
        face.client.async_infer("simple", tensors(face, sums(number)[0]), back)
    for number, result, error in (answers.get(timeout=60) for _ in range(MANY)):
        true(f"request {number}", error is None, f"{error}")
        same(f"request {number}", result.as_numpy("OUTPUT0"), sums(number)[1])
    face.client.async_infer("nobody", tensors(face, sums(0)[0]), lambda result, error: answers.put((0, result, error)))
    _, result, error = answers.get(timeout=60)
    true("no result", result is None)
    same("unknown model", error.status(), "StatusCode.NOT_FOUND")
    face.close()
    gathered(Grpc(server.grpc, False))


def gathered(face):
    async def all_of_them():
        return await asyncio.gather(*(face.client.infer("simple", tensors(face, sums(number)[0])) for number in range(MANY)))

    for number, answer in enumerate(face.loop.run_until_complete(all_of_them())):
        same(f"request {number}", answer.as_numpy("OUTPUT0"), sums(number)[1])
    face.close()


def long_rounds(face):
    """How many rounds keep the network busy for more than a second and less than some."""
    rounds = 100_000
    while True:
        begun = time.monotonic()
        face.answer("busy", busy(rounds), "done")
        took = time.monotonic() - begun
        if took > 0.2:
            return int(rounds * 1.5 / took)
        rounds *= 4


def busy(rounds):
    return {"rounds": np.array([[rounds]], np.int64)}


def time_outs(server):
    """A request that is given up by its client, or has waited too long, is refused; the next one is served."""
    face = Grpc(server.grpc, True)
    long = long_rounds(face)
    error = raised("deadline", InferenceServerException, face.infer, "busy", busy(long), client_timeout=0.2)
    same("deadline", error.status(), "StatusCode.DEADLINE_EXCEEDED")
    same("after the deadline", face.answer("busy", busy(1), "done"), busy(1)["rounds"])

    hasty = Http(server.http, True, network_timeout=0.2)
    raised("network time-out", Exception, hasty.infer, "busy", busy(long))
    hasty.close()
    same("after the time-out", face.answer("busy", busy(1), "done"), busy(1)["rounds"])

    error = raised("deadline, aio", InferenceServerException, Grpc(server.grpc, False).infer, "busy", busy(long), client_timeout=0.2)
    same("deadline, aio", error.status(), "StatusCode.DEADLINE_EXCEEDED")
    same("after that", face.answer("busy", busy(1), "done"), busy(1)["rounds"])

    for other in (Http(server.http, True), Grpc(server.grpc, True)):
        with ThreadPoolExecutor(1) as beside:
            occupied = beside.submit(Grpc(server.grpc, True).answer, "busy", busy(long), "done")
            until("the network is busy", lambda: pending(face, long, occupied))
            error = raised("waited too long", InferenceServerException, other.infer, "busy", busy(1), timeout=1000)
            same("waited too long", error.status(), "503" if other.protocol == "http" else "StatusCode.UNAVAILABLE")
            holds("waited too long", error.message(), "timeout")
            same("the one before it", occupied.result(60), busy(long)["rounds"])
        other.close()

    done = queue.Queue()
    call = face.client.async_infer("busy", tensors(face, busy(long)), lambda result, error: done.put(error))
    call.cancel()
    same("cancelled", done.get(timeout=60).status(), "StatusCode.CANCELLED")
    same("after the cancelled one", face.answer("busy", busy(1), "done"), busy(1)["rounds"])
    face.close()


def pending(face, rounds, occupied):
    """Whether the one instance has begun: a request of one round then does not come back at once."""
    true("the long request goes on", not occupied.done())
    begun = time.monotonic()
    try:
        face.infer("busy", busy(1), client_timeout=0.1)
    except InferenceServerException:
        return True
    return time.monotonic() - begun > 0.1


class Stream:
    """Triton's own stream, with what comes back in a queue."""

    def __init__(self, server, **options):
        self.face, self.back = Grpc(server.grpc, True), queue.Queue()
        self.face.client.start_stream(lambda result, error: self.back.put((result, error)), **options)

    def send(self, number, model="simple", **named):
        inputs = sums(number)[0] if model != "busy" else busy(number)
        self.face.client.async_stream_infer(model, tensors(self.face, inputs), request_id=str(number), **named)

    def next(self):
        return self.back.get(timeout=60)

    def expect(self, number):
        result, error = self.next()
        true(f"request {number}", error is None, f"{error}")
        told = result.get_response()
        same("id", told.id, str(number))
        same(f"request {number}", result.as_numpy("OUTPUT0"), sums(number)[1])
        same("last one", told.parameters["triton_final_response"].bool_param, True)

    def close(self, **how):
        self.face.client.stop_stream(**how)
        self.face.close()


def streams(server):
    for options in ({}, {"compression_algorithm": "gzip"}):
        stream = Stream(server, **options)
        for number in range(MANY):
            stream.send(number)
        for number in range(MANY):
            stream.expect(number)
        stream.send(1)
        stream.send(2, "nobody")
        stream.send(3, model_version="9")
        stream.send(4, enable_empty_final_response=True)
        stream.expect(1)
        for word in ("nobody", "9"):
            result, error = stream.next()
            true("no result", result is None)
            holds("error", error.message(), word)
        stream.expect(4)  # the stream stayed open
        stream.close()
    stream = Stream(server, headers={"triton_grpc_error": "true"})
    stream.send(5)
    stream.expect(5)
    stream.send(6, "nobody")
    same("ends with a status", stream.next()[1].status(), "StatusCode.NOT_FOUND")
    stream.close()


def streams_aio(server):
    face = Grpc(server.grpc, False)

    async def talk():
        async def requests():
            for number in (*range(MANY), 99, 3):
                model = "nobody" if number == 99 else "simple"
                yield {"model_name": model, "inputs": tensors(face, sums(number)[0]), "request_id": str(number)}

        return [answer async for answer in face.client.stream_infer(requests())]

    answers = face.loop.run_until_complete(talk())
    same("answers", len(answers), MANY + 2)
    holds("unknown model", answers[MANY][1].message(), "nobody")
    for number, (result, error) in zip((*range(MANY), None, 3), answers):
        if number is not None:
            true(f"request {number}", error is None, f"{error}")
            same(f"request {number}", result.as_numpy("OUTPUT0"), sums(number)[1])
    face.close()


def cancelled_streams(server):
    """A stream that is cancelled while requests wait leaves nothing that keeps the next one waiting."""
    plain = Grpc(server.grpc, True)
    long = long_rounds(plain)
    stream = Stream(server)
    for _ in range(8):
        stream.send(long, "busy")
    begun = time.monotonic()
    stream.close(cancel_requests=True)
    same("after it", plain.answer("busy", busy(1), "done"), busy(1)["rounds"])
    true("the others were dropped", time.monotonic() - begun < 6, f"{time.monotonic() - begun:.1f} s")
    plain.close()


def thousand_streams(server):
    """Opened, used, cut off half way: no file, no memory, no place in the queue is lost."""
    opened = threading.local()

    def one(number):
        if not hasattr(opened, "face"):
            opened.face = Grpc(server.grpc, True)
        back = queue.Queue()
        opened.face.client.start_stream(lambda result, error: back.put((result, error)))
        for _ in range(4):
            opened.face.client.async_stream_infer("simple", tensors(opened.face, sums(number)[0]))
        result, error = back.get(timeout=60)
        true(f"stream {number}", error is None, f"{error}")
        same(f"stream {number}", result.as_numpy("OUTPUT0"), sums(number)[1])
        opened.face.client.stop_stream(cancel_requests=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(STREAMS // 10)))
        files, memory = server.open_files(), server.resident()
        list(pool.map(one, range(STREAMS)))
        grown = server.resident() - memory
    until("files are closed", lambda: server.open_files() <= files)
    true("memory", grown < 40e6, f"grew by {grown / 1e6:.0f} MB")
    # The queue of a model is this long by default; each of these would find no place in it had one been kept.
    many_over_grpc(server)


ALL = [many_over_http, many_over_grpc, time_outs, streams, streams_aio, cancelled_streams, thousand_streams]
