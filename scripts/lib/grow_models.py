"""What one more loaded model costs: the first part of scripts/growth."""

import itertools
import statistics
import time

from crowd import quantile
from grow_common import binary, get, serving
from growing import Chart, Part, Series, line, milliseconds, size
from latency import Connection
from process import status

COUNTS, QUICK = (1, 10, 25, 50, 100, 150, 200), (1, 2, 4, 8)
TITLES = {"pt": "TorchScript", "onnx": "ONNX"}


def measure(quick):
    part = Part("models", "Loaded models", ["models", "loading one, ms", "memory", "threads", "open files", "p50 of one, ms", "p99 of one, ms",
                                            "p50, each in turn, ms", "`GET /models`, ms", "`/metrics`, ms", "`/metrics`"])
    part.before = ("Networks that do nothing, each registered under a name of its own by `POST /models`, with one worker. *Loading*: the"
                   " median of those since the line above, from request to answer. *Of one*: the first model is asked over one"
                   " connection. *Each in turn*: the next request goes to the next model. `GET /models` with all of its pages.")
    found = {}
    for form in TITLES:
        with serving("first", form, "--enable-model-api", load=False) as server:
            found[form] = grow(server, form, QUICK if quick else COUNTS, 0.1 if quick else 1)
    for form, rows in found.items():
        part.rows += [[f"{row['models']} {TITLES[form]}", milliseconds(row["load"]), size(row["resident"]), row["threads"], row["files"],
                       *(milliseconds(row[name]) for name in ("p50", "p99", "turns", "list", "page")), size(row["bytes"])] for row in rows]
        judge(part, TITLES[form], rows)
    counts = {form: [row["models"] for row in rows] for form, rows in found.items()}
    series = lambda key, scale=1: [Series(TITLES[form], counts[form], [row[key] / scale for row in rows]) for form, rows in found.items()]
    part.charts = [
        Chart("models-memory", "Resident memory by loaded models", "models", "MB", series("resident", 1e6)),
        Chart("models-time", "What takes how long, by loaded models (TorchScript)", "models", "ms",
              [Series(title, counts["pt"], [row[key] for row in found["pt"]]) for title, key in
               (("loading one", "load"), ("a request, p50", "p50"), ("a request, p99", "p99"), ("GET /models", "list"), ("/metrics", "page"))], "y"),
    ]
    return part


def grow(server, form, counts, seconds):
    """A row for each number of models."""
    rows, loads = [], []
    for number in range(1, max(counts) + 1):
        begun = time.perf_counter()
        answer = server.manage("POST", f"/models?url=first-{form}.mar&model_name=m{number:03}&initial_workers=1&synchronous=true")
        loads.append(1e3 * (time.perf_counter() - begun))
        if answer.status != 200:
            raise RuntimeError(f"model {number} was not loaded: {answer.body.decode()}")
        if number in counts:
            rows.append({"models": number, "load": statistics.median(loads), **look(server, number, seconds)})
            loads = []
    return rows


def look(server, models, seconds):
    """What is to be seen with so many of them."""
    now = status(server.process.pid)
    row = {"resident": now["resident"], "threads": now["threads"], "files": server.open_files()}
    with Connection(server.inference) as connection:
        asked = [binary(connection, f"m{number:03}") for number in range(1, models + 1)]
        for request in asked + 20 * asked[:1]:
            connection.ask(request)
        times = sorted(connection.times(asked[0], seconds)[0])
        row["p50"], row["p99"] = (quantile(times, part) for part in (0.5, 0.99))
        turns, end, following = [], time.perf_counter() + seconds, itertools.cycle(asked)
        while time.perf_counter() < end:
            turns += connection.times(next(following), 0, least=1)[0]
        row["turns"] = statistics.median(turns)
    with Connection(server.management) as connection:
        pages = [get(connection, f"/models?limit=100&next_page_token={start}") for start in range(0, models, 100)]
        row["list"] = statistics.median(sum(connection.times(page, 0, least=1)[0][0] for page in pages) for _ in range(15))
    with Connection(server.metrics) as connection:
        page = get(connection, "/metrics")
        row["bytes"] = len(connection.ask(page))
        row["page"] = statistics.median(connection.times(page, 0, least=15)[0])
    return row


def judge(part, title, rows):
    counts = [row["models"] for row in rows]
    of = lambda key: [row[key] for row in rows]
    each = line(counts, of("resident"))
    threads, page = line(counts, of("threads")), line(counts, of("bytes"))
    part.slopes.append(f"{title}: a model more is {size(each.slope)} (± {size(each.half)}) of memory, {threads.slope:.2f} threads,"
                       f" {size(page.slope)} of `/metrics`; a list of them takes {1e3 * line(counts, of('list')).slope:.0f} µs longer,"
                       f" the figures {1e3 * line(counts, of('page')).slope:.0f} µs.")
    part.linear(f"{title}: memory", counts, [value / 1e6 for value in of("resident")], "MB", noise=20)
    part.linear(f"{title}: threads", counts, of("threads"), "", noise=4)
    part.linear(f"{title}: `GET /models`", counts, of("list"), "ms", noise=1)
    part.linear(f"{title}: `/metrics`", counts, of("page"), "ms", noise=2)
    part.flat(f"{title}: loading one", of("load")[0], of("load")[-1], "ms", noise=10, most=2)
    for key, noise in (("p50", 0.1), ("p99", 1), ("turns", 0.2)):
        part.flat(f"{title}: a request's time ({key})", of(key)[0], of(key)[-1], "ms", noise=noise)
