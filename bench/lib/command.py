"""What `scripts/bench` does: chooses, installs, measures, writes."""

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import load
import measure
import processes
import report
from checks import checks
from floors import Empty
from jobs import JOBS, MADE, ROOT
from peer import Setting, discover
from running import Server, Trouble
from served import processor

QUICK = ("marserve", "torchserve")
# One form is enough where the network is nearly nothing; of the U-Net both are told.
NEARLY_NOTHING = ("torchscript", "torchscript-batched")
QUICK_FORMS = {"empty-tensor": NEARLY_NOTHING, "empty-png": NEARLY_NOTHING, "unet-small": ("torchscript", "onnx")}
DESCRIPTION = """Compares marserve with the servers that people run today: the same weights, the same preprocessing, the same
number of threads, one server at a time on loopback, driven by oha. Installs them into the user's cache first.

Writes bench/results/DATE.md, DATE.json and a plot a job. bench/README.md says how it is measured."""


def parsed(arguments):
    parser = argparse.ArgumentParser(prog="bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="TorchServe alone, three jobs, short rounds: under ten minutes")
    parser.add_argument("--jobs", nargs="+", metavar="JOB", help="these alone; see --list")
    parser.add_argument("--peers", nargs="+", metavar="PEER",
                        help="these alone: a server (torchserve) or one of its forms (torchserve/onnx)")
    parser.add_argument("--rounds", type=int, help="rounds of each job [default: 5; 3 with --quick]")
    parser.add_argument("--seconds", type=float, help="of each load [default: 10; 1 with --quick]")
    parser.add_argument("--minutes", type=float, default=0, help="in the last round the load goes on for so long, and memory is told")
    parser.add_argument("--workers", type=int, default=1, help="forward passes at once, of every server [default: 1]")
    parser.add_argument("--threads", type=int, default=1, help="threads of a forward pass, of every server [default: 1]")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results", help="folder of the results [default: bench/results]")
    parser.add_argument("--add", action="store_true", help="add to the results of the same day; else they are replaced")
    parser.add_argument("--check", action="store_true", help="end with 1 where what must hold is missed")
    parser.add_argument("--no-plots", action="store_true", help="draw nothing, and install nothing to draw with")
    parser.add_argument("--list", action="store_true", help="print jobs and peers, and do nothing")
    parser.add_argument("--try", action="store_true", dest="only_try",
                        help="start each server, hold its answer against the right one, load nothing")
    parser.add_argument("--install-only", action="store_true", help="install what is chosen, and measure nothing")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 10)
    if options.rounds < 1 or options.seconds <= 0 or options.workers < 1 or options.threads < 1:
        parser.error("--rounds, --seconds, --workers and --threads are above 0")
    return options


def tried(jobs, peers, setting):
    """Starts each server for each job, without a load: how long until it was right, or what is wrong. How many are wrong."""
    wrong = 0
    for job in jobs:
        for peer in [peer for peer in peers if peer.belongs(job)]:
            reason = peer.cannot(job)
            if reason is None:
                try:
                    with Server(peer, job, setting) as server:
                        bytes_of = processes.memory(server.processes())[0]
                        reason = f"right after {server.ready:.2f} s, {bytes_of / 2**20:.0f} MiB"
                except (Trouble, RuntimeError, OSError, subprocess.CalledProcessError) as error:
                    wrong, reason = wrong + 1, f"WRONG: {error}"
            print(f"{job.name:16} {peer.name:32} {reason}", flush=True)
    return wrong


def chosen(options, known):
    """(jobs, peers), or what is wrong with what was asked for."""
    jobs = [job for job in JOBS if job.quick or not options.quick]
    if options.jobs:
        named = {job.name: job for job in JOBS}
        unknown = [name for name in options.jobs if name not in named]
        if unknown:
            raise ValueError(f"no job {', '.join(unknown)}; known: {', '.join(named)}")
        jobs = [named[name] for name in options.jobs]
    asked = options.peers or (QUICK if options.quick else sorted({name.split("/")[0] for name in known}))
    for name in asked:
        if not matching(known, name):
            folders = sorted({one.split("/")[0] for one in known})
            raise ValueError(f"no peer {name}; known: {', '.join(folders)}, and {', '.join(known)}")
    return jobs, [peer for name, peer in known.items() if any(name in matching(known, one) for one in asked)]


def matching(known, asked):
    """The names that a server's name, or one of them, stands for."""
    return [name for name in known if name == asked or name.startswith(f"{asked}/")]


def forms(job, peers, options):
    """Who takes part in a job: with --quick not every form of the weights."""
    peers = [peer for peer in peers if peer.belongs(job)]
    if options.quick and not options.peers and job.name in QUICK_FORMS:
        return [peer for peer in peers if peer.name.split("/")[1] in QUICK_FORMS[job.name]]
    return peers


def install(peers, jobs, only_peers=False):
    """Installs what is not there; returns those that can run, and why the others cannot."""
    able, reasons = [], {}
    if not only_peers:
        load.install()
        floor = Empty()
        floor.install()
        reasons = {floor.name: floor.missing()} if floor.missing() else {}
    for peer in peers:
        reason = peer.missing()
        if reason is None:
            try:
                peer.install()
            except (OSError, subprocess.CalledProcessError) as error:
                reason = f"it could not be installed: {error}"
        if reason is None:
            able.append(peer)
        else:
            reasons[peer.name] = reason
            measure.say(f"{peer.name}: {reason}")
    make(jobs)
    return able, reasons


def make(jobs):
    """Makes the large networks and images, where one of the jobs wants what is not there."""
    if all(file.exists() for job in jobs for file in job.made()):
        return
    makers = [peer for name, peer in discover().items() if name == "torchserve/torchscript"]
    makers[0].install()
    measure.say(f"making networks and images in {MADE}")
    subprocess.run([makers[0].python(), ROOT / "bench/make.py"], check=True)


def about_servers(peers, setting):
    """What is told of each server once, by its folder's name."""
    told = {}
    for peer in peers:
        name = peer.folder.name
        if name in told or peer.name.startswith("floor/"):
            continue
        told[name] = {
            "versions": peer.versions(), "install_seconds": peer.install_seconds(),
            "install_bytes": processes.tree_bytes(peer.installed()), "idle": measure.idle(peer, setting),
        }
    return told


def machine():
    return {
        "cpu": processor(), "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "system": f"Linux {platform.release()}",
    }


def plan_of(options):
    warm_up = min(2 if options.quick else 5, options.seconds)
    return measure.Plan(options.rounds, options.seconds, warm_up, 1 if options.quick else 2, options.minutes)


def begun(options):
    """Results without figures, or those of the same day where these are added to.

    Raises ValueError where those were not measured as these will be.
    """
    results = {
        "date": datetime.date.today().isoformat(), "machine": machine(), "oha": load.VERSION, "load_average": [os.getloadavg()[0], 0],
        "setting": vars(Setting(options.workers, options.threads)), "missing": {}, "servers": {}, "jobs": {},
    }
    file = options.out / f"{results['date']}.json"
    if not options.add or not file.exists():
        return results
    before = json.loads(file.read_text(encoding="utf-8"))
    for what in ("machine", "setting", "oha"):
        if before[what] != results[what]:
            raise ValueError(f"{file} cannot be added to: its {what} is {before[what]}, and here it is {results[what]}; give another --out")
    return before


def run(options, jobs, peers, results):
    """Measures, and puts it into the results."""
    setting, plan = Setting(options.workers, options.threads), plan_of(options)
    results["servers"].update(about_servers(peers, setting))
    ours = {peer.form: peer for peer in peers if peer.folder.name == "marserve" and not peer.batch}
    for job in jobs:
        taking_part = forms(job, peers, options)
        bare = {form: peer for form, peer in ours.items() if peer in taking_part}
        results["jobs"][job.name] = measure.measure(job, [*taking_part, *empty(job)], setting, plan, bare)
        results["jobs"] = {one.name: results["jobs"][one.name] for one in JOBS if one.name in results["jobs"]}
        results["load_average"][1] = os.getloadavg()[0]
        write(results, options.out)


def empty(job):
    """The empty endpoint is measured where next to nothing lies behind HTTP, and where it is there."""
    peer = Empty()
    return [peer] if job.name in ("empty-tensor", "empty-png", "tensor-10mb") and peer.missing() is None else []


def write(results, folder):
    """DATE.json and DATE.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{results['date']}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / f"{results['date']}.md").write_text(report.page(results), encoding="utf-8")


def plot(results, folder):
    """A plot a job, drawn with the packages that this repository's charts are drawn with."""
    environment = {**os.environ, "MARSERVE_PYTHON": sys.executable}
    packages = subprocess.run([ROOT / "scripts/lib/client_packages", ROOT / "scripts/lib/charts.txt"],
                              check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.strip()
    drawn = folder / results["date"]
    subprocess.run([sys.executable, ROOT / "bench/lib/plots.py", folder / f"{results['date']}.json", drawn], check=True,
                   env={**environment, "PYTHONPATH": packages})
    for name, job in results["jobs"].items():
        job["plot"] = f"{results['date']}/{name}.svg" if (drawn / f"{name}.svg").exists() else None
    write(results, folder)


def listed(known):
    lines = ["jobs:"] + [f"  {job.name:16} {job.title}{' (quick)' if job.quick else ''}" for job in JOBS]
    lines += ["peers:"]
    for name, peer in known.items():
        reasons = [f"{job.name}: {reason}" for job in JOBS if (reason := peer.cannot(job))]
        missing = peer.missing()
        lines.append(f"  {name:32} {peer.full_title()}" + (f"; not here: {missing}" if missing else ""))
        lines += [f"  {'':32}   not {reason}" for reason in reasons]
    return "\n".join(lines)


def main(arguments=None):
    options = parsed(arguments)
    known = discover()
    if options.list:
        print(listed(known))
        return 0
    try:
        jobs, peers = chosen(options, known)
        results = begun(options)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    processes.adopt()
    # So that whoever ends this ends the server with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    able, reasons = install(peers, jobs, options.only_try)
    if options.only_try:
        return 1 if reasons or tried(jobs, able, Setting(options.workers, options.threads)) else 0
    if options.install_only or not able:
        return 0 if able else 1
    began = time.monotonic()
    results["missing"].update(reasons)
    run(options, jobs, able, results)
    if not options.no_plots and not options.quick:
        plot(results, options.out)
    print(report.must_hold(results))
    print(f"\n{options.out / results['date']}.md, after {time.monotonic() - began:.0f} s")
    missed = [check.title for check in checks(results) if check.holds() is False]
    failed = [name for name, job in results["jobs"].items() if any(entry["trouble"] for entry in job["entries"].values())]
    if failed:
        print(f"bench: something went wrong in {', '.join(failed)}: see the end of the page", file=sys.stderr)
    return 1 if failed or (options.check and missed) else 0
