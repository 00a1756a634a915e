"""The results as a page: what must hold, a section a job, what each server was configured to. Standard library alone."""

from checks import checks, pick, spread
from jobs import FORMS

SHOWN = {"closed-1": "1 client", "closed-8": "8 clients", "closed-32": "32 clients"}


def page(results):
    parts = [f"# Side by side, {results['date']}", machine(results), must_hold(results)]
    for name, job in results["jobs"].items():
        parts.append(section(name, job))
    parts += [around(results), configuration(results), troubles(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def machine(results):
    told, setting = results["machine"], results["setting"]
    begin, end = results["load_average"]
    return (
        f"{told['cpu']}, {told['cores']} cores, {told['memory'] / 2**30:.0f} GiB, {told['system']}. Each server alone, on loopback, with"
        f" {counted(setting['workers'], 'worker')} of {counted(setting['threads'], 'thread')}, in turn (A B C, C B A). Load generator: oha"
        f" {results['oha']}, on the same cores. Load of the machine when it began: {begin:.2f}; when it ended: {end:.2f}.\n\n"
        "Figures are medians of the rounds, and in brackets the rounds' quartiles. Every answer's status is counted, and every server's"
        " answer was held against the right one before and after it was timed."
    )


def rounds(plan):
    return f"{counted(plan['rounds'], 'round')}, {plan['seconds']:g} s each load after {plan['warm_up']:g} s that are not counted."


def counted(count, noun):
    return f"{count} {noun}" + ("" if count == 1 else "s")


def table(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def must_hold(results):
    rows = []
    for check in checks(results):
        told = spread(check.values)
        verdict = {True: "held", False: "**missed**", None: "not measured"}[check.holds()]
        measured = "" if told is None else f"{told[0]:.3g} ({told[1]:.3g} to {told[2]:.3g})"
        rows.append([check.title, check.wanted(), measured, verdict])
    return "## What must hold\n\nRatios, formed in each round.\n\n" + table(["", "wanted", "measured", ""], rows)


def figure(entry, path, digits=3, times=1.0):
    """The median of a figure over the rounds, with its quartiles where they differ."""
    told = spread([None if value is None else value * times for value in (pick(one, path) for one in entry["rounds"])])
    if told is None:
        return ""
    median, low, high = (short(value, digits) for value in told)
    return median if median == low == high else f"{median} ({low} to {high})"


def short(value, digits=3):
    """So many significant digits, and no fewer than there are before the point."""
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def section(name, job):
    parts = [f"## {name}", f"{job['title'][0].upper()}{job['title'][1:]}.{batches(job)} {rounds(job['plan'])}"]
    able = {key: entry for key, entry in job["entries"].items() if any(entry["rounds"])}
    if able:
        parts += [closed(able, job), opened(able, job["rates"]), costs(able), picture(job)]
    reasons = [f"- {entry['title']}: {entry['cannot']}." for entry in job["entries"].values() if entry["cannot"]]
    reasons += [f"- {entry['title']}: not measured, see below." for entry in job["entries"].values()
                if not entry["cannot"] and not any(entry["rounds"])]
    if reasons:
        parts.append("Not here:\n\n" + "\n".join(reasons))
    return "\n\n".join(part for part in parts if part)


def picture(job):
    return f"![throughput, latency and processor time by clients]({job['plot']})" if job.get("plot") else ""


def batches(job):
    return "" if job["batch"] == 1 else f" Batches of up to {job['batch']}, for which the oldest request waits {job['delay']} ms at most."


def closed(entries, job):
    rows = []
    loads = [key for key in next(first(entry)["loads"] for entry in entries.values()) if key.startswith("closed-")]
    for entry in entries.values():
        for key in loads:
            path = ("loads", key)
            rows.append([entry["title"] if key == loads[0] else "", SHOWN.get(key, key), figure(entry, (*path, "throughput")),
                         *(figure(entry, (*path, part)) for part in ("p50", "p99", "p99.9")), figure(entry, (*path, "goodput")),
                         figure(entry, (*path, "cpu_ms")), failures(entry, key)])
    for form, told in job["bare"].items():
        values = spread([one["throughput"] for one in told])
        if values:
            rows.append([f"the bare runtime in a loop, {FORMS[form]}", "", f"{short(values[0])} ({short(values[1])} to {short(values[2])})",
                         "", "", "", "", "", ""])
    head = ["closed loop", "", "answers/s", "p50 ms", "p99 ms", "p99.9 ms", "within 100 ms, /s", "CPU ms each", "failed"]
    return table(head, rows)


def first(entry):
    return next(told for told in entry["rounds"] if told)


def failures(entry, key):
    """How many requests of all rounds failed."""
    return sum(pick(told, ("loads", key, "failed")) or 0 for told in entry["rounds"])


def opened(entries, rates):
    rows = []
    for rate in rates:
        path = ("loads", f"open-{rate:g}")
        for entry in entries.values():
            rows.append([entry["title"], f"{rate:g}", figure(entry, (*path, "throughput")),
                         *(figure(entry, (*path, part)) for part in ("p50", "p99", "p99.9")), figure(entry, (*path, "goodput")),
                         failures(entry, path[1])])
    if not rows:
        return ""
    return table(["open loop", "requests/s", "answers/s", "p50 ms", "p99 ms", "p99.9 ms", "within 100 ms, /s", "failed"], rows)


def costs(entries):
    rows = []
    for key, entry in entries.items():
        if key.startswith("floor/"):
            continue
        rows.append([entry["title"], figure(entry, ("loaded", "pss"), times=2**-20),
                     figure(entry, ("after", "pss"), times=2**-20), grown(entry),
                     figure(entry, ("ready",)), figure(entry, ("first",)), figure(entry, ("packed", "seconds")),
                     figure(entry, ("packed", "bytes"), times=1e-6)])
    head = ["", "loaded, MiB", "after the load, MiB", "after minutes of it, MiB", "start to first right answer, s",
            "the first start of all, s", "packing, s", "packed, MB"]
    return table(head, rows)


def grown(entry):
    """Memory at the end of a load that went on in the last round; nothing where none did."""
    later = pick(entry["rounds"][-1], ("later",))
    return f"{short(later[-1][1] / 2**20)} ({later[-1][0]:.0f} min)" if later else ""


def around(results):
    """What does not depend on a job: installing, and servers without a model."""
    rows = []
    for name, told in results["servers"].items():
        idle = "" if told["idle"] is None else f"{told['idle']['pss'] / 2**20:.0f}"
        seconds = "" if told["install_seconds"] is None else f"{told['install_seconds']:.0f}"
        versions = ", ".join(f"{what} {version}" for what, version in told["versions"].items())
        rows.append([name, versions, seconds, f"{told['install_bytes'] / 1e6:.0f}", idle])
    head = ["server", "versions", "installing, s", "installed, MB", "without a model, MiB"]
    return ("## Around it\n\nMemory is the proportional set size of all of a server's processes, as the kernel counts it: a page that"
            " several share is counted once. Installing is from public packages into an empty folder, once, as fast as the network was.\n\n"
            + table(head, rows) + left_out(results["missing"]))


def left_out(reasons):
    return "".join(f"\n\nLeft out: {name}, because {reason}." for name, reason in reasons.items())


def configuration(results):
    parts = []
    for name, job in results["jobs"].items():
        for entry in job["entries"].values():
            if entry.get("configuration"):
                lines = entry["configuration"].splitlines()
                parts.append(f"**{name}, {entry['title']}.** " + " <br> ".join(lines))
    return "## What each was configured to\n\n" + "\n\n".join(parts) if parts else ""


def troubles(results):
    parts = []
    for name, job in results["jobs"].items():
        for entry in job["entries"].values():
            parts += [f"{name}, {entry['title']}:\n\n```\n{trouble}\n```" for trouble in entry["trouble"]]
            parts += wrong_statuses(name, entry)
    return "## What went wrong\n\n" + ("\n\n".join(parts) if parts else "Nothing: every request of every round was answered with 200.")


def wrong_statuses(name, entry):
    """Statuses other than 200 and requests without an answer, load by load."""
    found = []
    for number, told in enumerate(entry["rounds"], 1):
        for key, seen in (told["loads"] if told else {}).items():
            if seen["failed"]:
                bad = {status: count for status, count in seen["statuses"].items() if status != "200"} | seen["errors"]
                found.append(f"{name}, {entry['title']}, round {number}, {key}: "
                             + ", ".join(f"{count} times {what}" for what, count in bad.items()))
    return found
