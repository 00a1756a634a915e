"""The rounds: every server in turn, A B C and then C B A, one at a time, and what each cost. Standard library alone.

Before the rounds each is started once, uncounted: is its answer right, and how much does it answer at most? From that the
fixed rates of the open loops are taken, the same for all: half of what the slowest holds, and half of what the fastest does.
"""

import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import floors
import processes
from jobs import CACHE, ROOT
from load import Load, send
from running import Idle, Server, Trouble

CLIENTS = (1, 8, 32)
BUSY = 8  # clients of the warm-up, and of what is told once
SHARE = 0.5  # of a throughput, for a rate
HALF_MINUTE = 30


@dataclass(frozen=True)
class Plan:
    """How long and how often; `rates` is how many of the two rates are measured."""

    rounds: int
    seconds: float
    warm_up: float
    rates: int = 2
    minutes: float = 0  # that the load goes on in the last round
    clients: tuple = CLIENTS


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def measure(job, peers, setting, plan, marserve):
    """Everything of one job: `peers` are those to compare, `marserve` is {form: peer} for the bare loops."""
    entries, able = {}, []
    for peer in peers:
        reason = peer.cannot(job)
        entries[peer.name] = {"title": peer.full_title(), "cannot": reason, "rounds": [], "trouble": []}
        if reason is None:
            entries[peer.name]["configuration"] = peer.configuration(job, setting)
            able.append(peer)
    most = {}
    for peer in list(able):
        told = attempt(entries, peer, job, lambda peer=peer: capacity(peer, job, setting, plan))
        if told is None:
            able.remove(peer)
        else:
            most[peer.name] = told
    rates = fixed_rates(most, plan.rates)
    loads = [Load(plan.seconds, clients) for clients in plan.clients] + [Load(plan.seconds, rate=rate) for rate in rates]
    bare = {form: [] for form in marserve}
    for number in range(plan.rounds):
        say(f"{job.name}: round {number + 1} of {plan.rounds}")
        steps = [lambda: bare_loops(bare, marserve, job, setting, plan)]
        long = plan.minutes if number == plan.rounds - 1 else 0
        steps += [lambda peer=peer, long=long: measured(entries, peer, job, setting, (plan, loads, long)) for peer in able]
        for step in steps if number % 2 == 0 else reversed(steps):
            step()
    about = {"title": job.title, "batch": job.batch, "delay": job.delay, "plan": vars(plan), "rates": rates}
    return {**about, "bare": bare, "entries": entries}


def attempt(entries, peer, job, what):
    """What came of it; None where there was trouble, which is kept to be told."""
    try:
        return what()
    except (Trouble, RuntimeError, OSError) as error:
        say(f"{job.name}: {error}")
        entries[peer.name]["trouble"].append(published(str(error)))
        return None


def published(text):
    """What a server said, without its colours and without where things lie on this machine."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for place, name in ((ROOT, "."), (CACHE, "CACHE"), (Path.home(), "~"), (tempfile.gettempdir(), "TMP")):
        text = text.replace(f"{place}/", f"{name}/")
    return text


def capacity(peer, job, setting, plan):
    """Answers a second to `BUSY` clients, shortly."""
    say(f"{job.name}: trying {peer.name}")
    with Server(peer, job, setting) as server:
        send(server, Load(plan.warm_up, BUSY))
        told = send(server, Load(plan.warm_up, BUSY))
        if told["answers"] == 0:
            raise Trouble(f"{peer.name} answers none of the requests of {BUSY} clients: {told['statuses']} {told['errors']}")
        return told["throughput"]


def fixed_rates(most, count):
    """Two rates for all, of two significant digits; those of a floor do not count."""
    held = [rate for name, rate in most.items() if not name.startswith("floor/")]
    if not held:
        return []
    chosen = [rounded(SHARE * min(held)), rounded(SHARE * max(held))]
    return sorted(set(chosen[:count] if count < 2 else chosen))


def rounded(rate):
    return max(0.5, float(f"{rate:.2g}"))


def measured(entries, peer, job, setting, how):
    told = attempt(entries, peer, job, lambda: one(peer, job, setting, how))
    # A round that failed holds its place, so that rounds of two servers can be held against each other.
    entries[peer.name]["rounds"].append(told)


def one(peer, job, setting, how):
    """One server, from its start to its end."""
    plan, loads, minutes = how
    with Server(peer, job, setting) as server:
        told = {"ready": server.ready, "first": server.first, "packed": server.packed, "loaded": memory(server), "loads": {}}
        send(server, Load(plan.warm_up, BUSY))
        for load in loads:
            before = processes.processor_seconds(server.processes())
            seen = send(server, load)
            spent = processes.processor_seconds(server.processes()) - before
            seen["cpu_ms"] = 1000 * spent / seen["answers"] if seen["answers"] else None
            told["loads"][load.name] = seen
        # One that went wrong under load was not doing its work.
        server.check()
        told["after"] = memory(server)
        told["later"] = later(server, minutes)
        return told


def later(server, minutes):
    """[minutes of load, bytes] each half minute, of a load that goes on for so long."""
    found, began = [], time.monotonic()
    while time.monotonic() < began + 60 * minutes:
        send(server, Load(min(HALF_MINUTE, 60 * minutes), BUSY))
        found.append([(time.monotonic() - began) / 60, memory(server)["pss"]])
    return found


def memory(server):
    proportional, resident = processes.memory(server.processes())
    return {"pss": proportional, "rss": resident}


def bare_loops(bare, marserve, job, setting, plan):
    for form, told in floors.loops(marserve, job, setting, plan.seconds).items():
        bare[form].append(told)


def idle(peer, setting):
    """Memory of a server that serves nothing; None where there is no such thing."""
    try:
        with Idle(peer, setting) as server:
            return memory(server)
    except Trouble as trouble:
        say(str(trouble))
        return None
