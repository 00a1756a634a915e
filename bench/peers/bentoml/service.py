"""BentoML: one service in one worker process, with a route of its own for requests as they come."""

import bentoml
from pools import Pools
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route


async def predict(request):
    return Response(await app.state.pools.answer(await request.body()), media_type=app.state.pools.work.content_type)


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])


@bentoml.service(workers=1, traffic={"timeout": 600}, metrics={"enabled": False}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(app, path="/")
class Served:
    def __init__(self):
        app.state.pools = Pools.from_environment()  # in the worker alone; the process that starts it loads this file too
