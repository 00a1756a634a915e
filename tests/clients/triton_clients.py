"""Triton's four clients with one face: over REST and over gRPC, each waiting and asynchronous.

What each says in a form of its own (lists here, maps there, whole numbers as texts) is brought into one form, so that
one list of checks holds for all four.
"""

import asyncio
import inspect

import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from tritonclient.utils import np_to_triton_dtype


class Face:
    """One client. `ask` calls one of its methods, and waits for the answer where the client does not."""

    library = None
    asynchronous = None

    def __init__(self, url, waiting, **options):
        self.waiting, self.loop = waiting, None if waiting else asyncio.new_event_loop()
        make = (self.library if waiting else self.asynchronous).InferenceServerClient
        self.client = make(url, **options) if waiting else self.loop.run_until_complete(self.made(make, url, options))
        self.name = f"{self.protocol} {'sync' if waiting else 'aio'}"

    @staticmethod
    async def made(make, url, options):
        return make(url, **options)  # needs a loop that runs

    def ask(self, method, *arguments, **named):
        answer = getattr(self.client, method)(*arguments, **named)
        return self.loop.run_until_complete(answer) if inspect.isawaitable(answer) else answer

    def close(self):
        self.ask("close")
        if self.loop:
            self.loop.close()

    def input(self, name, array, datatype=None, **how):
        tensor = self.library.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, **how)
        return tensor

    def output(self, name, **how):
        return self.library.InferRequestedOutput(name, **how)

    def shared_input(self, name, shape, datatype, region, size, offset=0):
        tensor = self.library.InferInput(name, list(shape), datatype)
        tensor.set_shared_memory(region, size, offset=offset)
        return tensor

    def shared_output(self, name, region, size, offset=0):
        tensor = self.library.InferRequestedOutput(name)
        tensor.set_shared_memory(region, size, offset=offset)
        return tensor

    def infer(self, model, inputs, outputs=None, **named):
        """Inputs by name, as arrays or made; outputs by name or made."""
        inputs = [self.input(name, value) if hasattr(value, "dtype") else value for name, value in inputs.items()]
        outputs = outputs and [self.output(one) if isinstance(one, str) else one for one in outputs]
        return self.ask("infer", model, inputs, outputs=outputs, **named)

    def answer(self, model, inputs, output, **named):
        return self.infer(model, inputs, **named).as_numpy(output)


class Http(Face):
    protocol = "http"
    library, asynchronous = http_client, http_aio
    pairs = [(sent, asked) for sent in (None, "gzip", "deflate") for asked in (None, "gzip", "deflate")]

    def compressed(self, pair):
        return {"request_compression_algorithm": pair[0], "response_compression_algorithm": pair[1]}

    def told(self, method, *arguments, **named):
        return self.ask(method, *arguments, **named)

    def config(self, model, **named):
        return self.told("get_model_config", model, **named)

    def index(self):
        return self.told("get_model_repository_index")

    def regions(self, **named):
        return {one["name"]: one for one in self.told("get_system_shared_memory_status", **named)}

    def cuda_regions(self):
        return self.told("get_cuda_shared_memory_status")

    def log_settings(self, settings=None):
        return self.told("update_log_settings", settings) if settings else self.told("get_log_settings")

    def trace_settings(self, **named):
        return self.told("get_trace_settings", **named)

    @staticmethod
    def meta(answer):
        return answer.get_response()


class Grpc(Face):
    protocol = "grpc"
    library, asynchronous = grpc_client, grpc_aio
    pairs = [None, "gzip", "deflate"]

    def compressed(self, pair):
        return {"compression_algorithm": pair}

    def told(self, method, *arguments, **named):
        return whole(self.ask(method, *arguments, as_json=True, **named))

    def config(self, model, **named):
        return self.told("get_model_config", model, **named)["config"]

    def index(self):
        return self.told("get_model_repository_index").get("models", [])

    def regions(self, **named):
        return self.told("get_system_shared_memory_status", **named).get("regions", {})

    def cuda_regions(self):
        return list(self.told("get_cuda_shared_memory_status").get("regions", {}))

    def log_settings(self, settings=None):
        told = self.told("update_log_settings", settings) if settings else self.told("get_log_settings")
        return {name: next(iter(value.values())) for name, value in told["settings"].items()}

    def trace_settings(self, **named):
        settings = self.told("get_trace_settings", **named)["settings"]
        return {name: value["value"] if name == "trace_level" else value["value"][0] for name, value in settings.items()}

    @staticmethod
    def meta(answer):
        return whole(answer.get_response(as_json=True))


def whole(told):
    """64-bit numbers are texts in the JSON of a message; names and versions, which are texts, stay."""
    texts = ("name", "version", "id", "model_version", "key", "reason", "versions", "string_param", "value", "string_value")
    if isinstance(told, dict):
        return {key: value if key in texts and not isinstance(value, dict) else whole(value) for key, value in told.items()}
    if isinstance(told, list):
        return [whole(one) for one in told]
    return int(told) if isinstance(told, str) and told.lstrip("-").isdigit() else told


def faces(server):
    """The four clients of a server, one after another; each is closed once it has been used."""
    for kind, url in ((Http, server.http), (Grpc, server.grpc)):
        for waiting in (True, False):
            face = kind(url, waiting)
            try:
                yield face
            finally:
                face.close()
