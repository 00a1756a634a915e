"""What one more connection costs: the third part of scripts/growth."""

import statistics

from crowd import Crowd, quantile, room_for
from grow_common import binary, serving
from growing import Chart, Part, Series, line, milliseconds, size
from latency import Connection
from process import cpu_seconds, status

COUNTS, QUICK = (1, 8, 32, 128, 500, 1000, 1500, 2000), (1, 8, 64)
MODEL = "first-pt"
# What each round finds out anew.
ROUNDS = ("rates", "p50s", "p99s", "works", "owns")


def measure(quick):
    part = Part("connections", "Connections", ["connections", "memory, idle", "one client beside them, p50 ms", "requests a second", "p50, ms", "p99, ms",
                                               "server's processor, µs each", "client's, µs each", "memory, busy", "not answered with 200"])
    part.before = ("*Idle*: so many connections are open and nothing goes over them, while one more client asks. *Busy*: all of them ask, each"
                   " its next request once it has the answer to the last; medians of a way up and a way down. The client is one thread on"
                   " the same machine, and what it works for each request is told, so the rate is no record of the server's.")
    counts = sorted({room_for(count) for count in (QUICK if quick else COUNTS)})
    seconds = 0.3 if quick else 3
    # Each connection may wait; a full queue is another part's.
    with serving("first", "pt", "--job-queue-size", "4000") as server, Connection(server.inference) as one:
        alone = binary(one, MODEL)
        one.times(alone, seconds / 3)
        rows = [idle(server, count, lambda: one.times(alone, seconds / 3)[0]) for count in counts]
        for row in rows + rows[::-1]:
            busy(server, row, alone, seconds)
    for row in rows:
        row["rate"], row["p50"], row["p99"], row["work"], row["own"] = (statistics.median(row[name]) for name in ROUNDS)
        part.rows.append([row["count"], size(row["idle"]), milliseconds(row["one"]), f"{row['rate']:.0f}", milliseconds(row["p50"]),
                          milliseconds(row["p99"]), f"{row['work']:.0f}", f"{row['own']:.0f}", size(row["busy"]), row["others"] or "none"])
        if row["others"]:
            part.broken.append(f"of {row['count']} connections' requests, not all were answered: {row['others']}")
    judge(part, counts, rows)
    of = lambda key, scale=1: [row[key] / scale for row in rows]
    part.charts = [
        Chart("connections-rate", "Requests a second by connections", "connections", "requests a second", [Series("", counts, of("rate"))], "x"),
        Chart("connections-time", "A request's time by connections", "connections", "ms", [Series("p50", counts, of("p50")), Series("p99", counts, of("p99"))], "xy"),
        Chart("connections-memory", "Resident memory by connections", "connections", "MB",
              [Series("idle", counts, of("idle", 1e6)), Series("busy", counts, of("busy", 1e6))]),
    ]
    return part


def idle(server, count, one):
    with Crowd(server.inference, count):
        # Asked first: once that is answered, the connections before it have been accepted as well.
        times = sorted(one())
        return {"count": count, "one": quantile(times, 0.5), "idle": status(server.process.pid)["resident"],
                **{name: [] for name in ROUNDS}, "busy": 0, "others": ""}


def busy(server, row, request, seconds):
    with Crowd(server.inference, row["count"]) as crowd:
        crowd.run(lambda: request, count=row["count"])
        before = cpu_seconds(server.process.pid)
        told = crowd.run(lambda: request, seconds=seconds)
        worked = cpu_seconds(server.process.pid) - before
        row["busy"] = max(row["busy"], status(server.process.pid)["resident"])
    answered = max(1, told.statuses[200])
    each = told.rate(), told.quantile(0.5), told.quantile(0.99), 1e6 * worked / answered, 1e6 * told.own / answered
    for name, value in zip(ROUNDS, each):
        row[name].append(value)
    row["others"] = ", ".join(filter(None, [row["others"], told.others(200)]))


def judge(part, counts, rows):
    each = line(counts, [row["idle"] for row in rows])
    part.slopes.append(f"A connection over which nothing goes is {size(each.slope)} (± {size(each.half)}) of memory.")
    part.slopes.append(f"The server works {rows[0]['work']:.0f} µs for a request over one connection, {min(row['work'] for row in rows):.0f} µs at the least"
                       f" and {rows[-1]['work']:.0f} µs over {rows[-1]['count']}.")
    best, last = max(row["rate"] for row in rows), rows[-1]
    part.slopes.append(f"With {last['count']} connections the server answers {100 * last['rate'] / best:.0f} % of the most that it answered with any"
                       f" number; the slowest of a hundred takes {last['p99'] / last['p50']:.1f} times as long as the median.")
    part.linear("memory of idle connections", counts, [row["idle"] / 1e6 for row in rows], "MB", noise=10)
    part.flat("one client's p50 beside idle connections", rows[0]["one"], last["one"], "ms", noise=0.1)
    part.flat("the server's work for a request", min(row["work"] for row in rows), last["work"], "µs", noise=5, most=2)
    if last["rate"] < best / 2:
        part.steep.append(f"{last['count']} connections get {last['rate']:.0f} requests a second, less than half of {best:.0f}")
    if last["p99"] > 5 * last["p50"]:
        part.steep.append(f"of {last['count']} connections, one in a hundred waits {last['p99']:.0f} ms where the median waits {last['p50']:.0f} ms")
