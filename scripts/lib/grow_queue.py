"""What happens below and above the rate that a model takes: the last part of scripts/growth."""

import statistics

from crowd import Crowd, room_for
from grow_common import binary, serving
from growing import Chart, Part, Series, milliseconds, size
from latency import Connection
from process import status
from served import figures, total

SHARES, QUICK = (0.5, 0.8, 0.9, 1.2, 2, 4), (0.5, 3)
MODEL, PLACES = "slow-pt", 100


def measure(quick):
    part = Part("queue", "A queue that fills", ["rate", "asked, a second", "answered, a second", "in the queue, mean ms", "p50, ms", "p99, ms",
                                                "503, a second", "p99 of 503, ms", "memory"])
    seconds = 0.5 if quick else 6
    with serving("slow", "pt", "--job-queue-size", str(PLACES)) as server, Connection(server.inference) as one:
        request = binary(one, MODEL)
        one.times(request, 0, least=20)
        # More than one client, so that no time passes between two passes.
        with Crowd(server.inference, 4) as crowd:
            most = crowd.run(lambda: request, seconds=max(seconds / 2, 0.5)).rate()
        shares = QUICK if quick else SHARES
        # Room for those that wait, those that are refused meanwhile, and some.
        with Crowd(server.inference, room_for(4 * PLACES)) as crowd:
            rows = [look(server, crowd, request, share, most, seconds) for share in shares]
    part.before = (f"A network that takes some milliseconds, of which one worker answers {most:.0f} a second when it is never without a request; {PLACES}"
                   " places in its queue. Requests come at a fixed rate, whether earlier ones are answered or not, and a request's time begins"
                   " when it is due.")
    part.rows = [[f"{row['share']:g} of what it takes", f"{row['asked']:.0f}", f"{row['answered']:.0f}", milliseconds(row["queued"]),
                  milliseconds(row["p50"]), milliseconds(row["p99"]), f"{row['refused']:.0f}",
                  milliseconds(row["no"]) if row["refused"] else "", size(row["resident"])] for row in rows]
    judge(part, rows, most)
    xs = [row["asked"] for row in rows]
    of = lambda key: [row[key] for row in rows]
    part.charts = [
        Chart("queue-rate", "What becomes of requests, by the rate they come at", "requests a second", "answers a second",
              [Series("200", xs, of("answered")), Series("503", xs, of("refused"))]),
        Chart("queue-time", "A request's time, by the rate they come at", "requests a second", "ms",
              [Series("200, p50", xs, of("p50")), Series("200, p99", xs, of("p99")), Series("503, p99", xs, of("no"))], "y"),
    ]
    return part


def look(server, crowd, request, share, most, seconds):
    before = figures(server.metrics)
    told = crowd.run(lambda: request, rate=share * most, seconds=seconds)
    after = figures(server.metrics)
    grew = lambda name: total(after, name, model_name=MODEL) - total(before, name, model_name=MODEL)
    answered = grew("marserve_requests_answered_total")
    return {
        "share": share, "asked": share * most, "answered": told.rate(), "refused": told.rate(503),
        "queued": grew("ts_queue_latency_microseconds") / 1e3 / answered if answered else 0.0,
        "p50": told.quantile(0.5), "p99": told.quantile(0.99), "no": told.quantile(0.99, 503),
        "resident": status(server.process.pid)["resident"], "others": told.others(200, 503), "count": told.statuses[503],
        "late": max(0.0, told.seconds - seconds),
    }


def judge(part, rows, most):
    below, above = [row for row in rows if row["share"] <= 0.8], [row for row in rows if row["share"] > 1]
    full = 1e3 * (PLACES + 1) / most
    worst = max(above, key=lambda row: row["p99"])
    part.slopes.append(f"A request waits for at most {PLACES} others and the one that runs: {full:.0f} ms at {most:.0f} a second. Measured above that rate:"
                       f" {worst['p99']:.0f} ms at most (p99), and {statistics.fmean(row['answered'] for row in above) / most:.0%} of the rate is kept.")
    for row in rows:
        if row["others"]:
            part.broken.append(f"at {row['share']:g} of what it takes, some were answered otherwise: {row['others']}")
    for row in below:
        if row["count"]:
            part.steep.append(f"at {row['share']:g} of what it takes, {row['count']} were refused")
    for row in above:
        if row["answered"] < 0.85 * most:
            part.steep.append(f"at {row['share']:g} of what it takes, {row['answered']:.0f} a second are answered and not {most:.0f}")
        if row["p99"] > 1.5 * full:
            part.steep.append(f"at {row['share']:g} of what it takes, one in a hundred waits {row['p99']:.0f} ms and not {full:.0f}")
        if row["no"] > 100:
            part.steep.append(f"at {row['share']:g} of what it takes, a 503 takes {row['no']:.0f} ms")
    part.flat("memory where the queue is full", rows[0]["resident"] / 1e6, rows[-1]["resident"] / 1e6, "MB", noise=20, most=1.2)
