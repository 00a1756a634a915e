"""The pools of the Python servers, without any of the servers and without NumPy."""

import asyncio
import json
import threading
import unittest

import jobs
import pools
from peer import Setting


class Fake:
    """What `Work` is to the pools: it remembers which threads did what."""

    def __init__(self, image=None, wire="json", reply=None):
        self.image, self.spec, self.reply = image, {"tensor": {"wire": wire}}, reply
        self.sessions, self.did = [], []

    def session(self, threads):
        self.sessions.append((threads, threading.current_thread().name))
        return len(self.sessions)

    def note(self, what):
        self.did.append((what, threading.current_thread().name.split("_")[0]))

    def prepare(self, body):
        self.note("prepare")
        if body == b"no image":
            raise ValueError("cannot identify image file")
        return body

    def run(self, session, tensors):
        self.note("run")
        return [[session, *tensors]]

    def finish(self, scores):
        self.note("finish")
        return self.reply if self.reply is not None else {"scores": str(scores)}


def answered(made, body):
    return asyncio.run(made.answer(body))


class PoolsTest(unittest.TestCase):
    def test_numbers_stay_on_the_event_loop(self):
        work = Fake()
        body = answered(pools.Pools(work, 1, 2), b"[1.5, 2]")
        self.assertEqual(json.loads(body), {"scores": "[1, [1.5, 2]]"})
        self.assertEqual(work.did, [("prepare", "MainThread"), ("run", "MainThread"), ("finish", "MainThread")])
        self.assertEqual([threads for threads, _ in work.sessions], [2])

    def test_json_that_the_server_parsed_is_not_parsed_again(self):
        self.assertEqual(json.loads(answered(pools.Pools(Fake(), 1, 1), [3])), {"scores": "[1, [3]]"})

    def test_a_tensor_is_taken_as_it_is(self):
        work = Fake()
        self.assertEqual(json.loads(answered(pools.Pools(work, 1, 1), (1.5, 2))), {"scores": "[1, (1.5, 2)]"})
        self.assertNotIn("prepare", [what for what, _ in work.did])

    def test_bytes_of_numbers_are_no_json(self):
        self.assertEqual(json.loads(answered(pools.Pools(Fake(wire="bytes"), 1, 1), b"[3]")), {"scores": "[1, b'[3]']"})

    def test_images_are_decoded_beside_the_event_loop(self):
        work = Fake(image={"size": [2, 2]}, reply=b"\x89PNG")
        self.assertEqual(answered(pools.Pools(work, 1, 1), b"image"), b"\x89PNG")
        self.assertEqual(work.did, [("prepare", "helper"), ("run", "network"), ("finish", "helper")])

    def test_an_image_that_is_none_fails_alone(self):
        made = pools.Pools(Fake(image={"size": [2, 2]}, reply=b"done"), 1, 1)

        async def three():
            return await asyncio.gather(*(made.answer(body) for body in (b"image", b"no image", b"image")), return_exceptions=True)

        first, second, third = asyncio.run(three())
        self.assertEqual((first, third), (b"done", b"done"))
        self.assertIsInstance(second, ValueError)

    def test_every_pass_at_once_has_a_session_of_its_own(self):
        work = Fake()
        made = pools.Pools(work, 2, 3)
        together = threading.Barrier(2, timeout=30)
        run = work.run
        work.run = lambda session, tensors: (together.wait(), run(session, tensors))[1]

        async def two():
            return await asyncio.gather(made.answer(b"[1]"), made.answer(b"[2]"))

        asyncio.run(two())  # a barrier that two threads pass is two passes at once
        self.assertEqual([threads for threads, _ in work.sessions], [3, 3])
        self.assertEqual(len({thread for _, thread in work.sessions}), 2)

    def test_the_setting_reaches_the_process(self):
        self.assertEqual(pools.environment("/x/job.json", Setting(2, 4)),
                         {"BENCH_JOB": "/x/job.json", "BENCH_WORKERS": "2", "BENCH_THREADS": "4"})

    def test_what_is_told_is_where_the_work_is_done(self):
        job = {one.name: one for one in jobs.JOBS}
        self.assertIn("event loop", pools.told(job["empty-tensor"], Setting()))
        self.assertNotIn("beside", pools.told(job["empty-tensor"], Setting()))
        self.assertIn("beside the event loop", pools.told(job["empty-png"], Setting(1, 2)))
        self.assertIn("2 thread(s) of passes", pools.told(job["empty-tensor"], Setting(2, 1)))


if __name__ == "__main__":
    unittest.main()
