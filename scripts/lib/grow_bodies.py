"""What a larger body costs: the second part of scripts/growth."""

import statistics

from grow_common import as_json, binary, serving
from growing import Chart, Part, Series, line, milliseconds, size
from latency import Connection
from process import cpu_seconds, status

SIZES = [1000 * 4**power for power in range(8)]
QUICK = [1000, 16_000, 64_000]
TITLES = {"binary": "bytes", "json": "JSON"}


def measure(quick):
    part = Part("bodies", "Size of the body", ["body", "request, ms", "server's processor, ms", "MB a second", "memory of the server"])
    part.before = ("A row of 32-bit numbers through `/v2/models/M/infer`, as bytes and as JSON, to a network that answers its first number; one"
                   " connection, one request at a time. Medians of the rounds, which go up and down in turn. The client's sending is part of"
                   " a request's time; *processor* is the server's alone.")
    rounds, seconds = (1, 0.1) if quick else (3, 0.8)
    sizes = QUICK if quick else SIZES
    with serving("first", "pt", "--max-request-size", "40000000") as server, Connection(server.inference) as connection:
        asked = {(form, count): make(connection, form, count) for form in TITLES for count in sizes}
        rows = {key: {"times": [], "cpu": [], "bytes": len(request)} for key, request in asked.items()}
        for number in range(rounds):
            for key in list(asked)[:: 1 if number % 2 == 0 else -1]:
                look(server, connection, asked[key], seconds, rows[key])
        most = status(server.process.pid)["most"]
    for (form, count), row in rows.items():
        row["ms"], row["cpu"] = statistics.median(row["times"]), statistics.median(row["cpu"])
        part.rows.append([f"{size(row['bytes'])} {TITLES[form]}", milliseconds(row["ms"]), milliseconds(row["cpu"]),
                          f"{row['bytes'] / row['ms'] / 1e3:.0f}", size(row["resident"])])
    for form, title in TITLES.items():
        own = [row for (of, _), row in rows.items() if of == form]
        bytes_, times = [row["bytes"] / 1e6 for row in own], [row["ms"] for row in own]
        judge(part, title, bytes_, times, [row["cpu"] for row in own])
    part.slopes.append(f"The most memory that the server ever had is {size(most)}; the largest body is {size(max(row['bytes'] for row in rows.values()))}.")
    part.charts = [Chart("bodies", "A request by the size of its body", "MB", "ms",
                         [Series(TITLES[form], [row["bytes"] / 1e6 for (of, _), row in rows.items() if of == form],
                                 [row["ms"] for (of, _), row in rows.items() if of == form]) for form in TITLES], "xy")]
    return part


def make(connection, form, count):
    """A request whose body has about so many bytes; a number of JSON takes eight of them here."""
    return binary(connection, "first-pt", count // 4) if form == "binary" else as_json(connection, "first-pt", count // 8)


def look(server, connection, request, seconds, row):
    connection.ask(request)
    before = cpu_seconds(server.process.pid)
    times, _ = connection.times(request, seconds)
    row["cpu"].append(1e3 * (cpu_seconds(server.process.pid) - before) / len(times))
    row["times"].append(statistics.median(times))
    row["resident"] = status(server.process.pid)["resident"]


def judge(part, title, megabytes, times, work):
    each, worked = line(megabytes, times), line(megabytes, work)
    part.slopes.append(f"As {title}, a megabyte more takes {each.slope:.2f} ms (± {each.half:.2f}), of which the server works {worked.slope:.2f} ms;"
                       f" the smallest request takes {times[0]:.2f} ms.")
    part.linear(f"a request as {title}", megabytes, times, "ms", noise=1)
    part.linear(f"the server's work for a request as {title}", megabytes, work, "ms", noise=1)
