"""The server that people write by hand: FastAPI and ONNX Runtime."""

from fastapi import FastAPI, Request, Response
from pools import Pools

pools = Pools.from_environment()
app = FastAPI(openapi_url=None)


@app.post("/predict")
async def predict(request: Request):
    return Response(await pools.answer(await request.body()), media_type=pools.work.content_type)
