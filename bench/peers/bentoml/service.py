"""BentoML: one service, one worker process, whose method takes a request's raw body."""

import bentoml
from pools import Pools


@bentoml.service(workers=1, traffic={"timeout": 600, "max_concurrency": 4096}, metrics={"enabled": False},
                 logging={"access": {"enabled": False}})
class Served:
    def __init__(self):
        self.pools = Pools.from_environment()

    @bentoml.api(route="/predict")
    async def predict(self, body: bytes, /) -> bytes:
        return await self.pools.answer(body)
