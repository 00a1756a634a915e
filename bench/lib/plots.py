"""Draws a job's figures: throughput and latency by clients, a colour a server. Run by the Python that has matplotlib.

usage: plots.py RESULTS.json FOLDER    (one JOB.svg a job)
"""

import json
import sys
from pathlib import Path

from checks import pick, spread

PANELS = [("throughput", "answers a second"), ("p50", "p50, ms"), ("p99", "p99, ms"), ("cpu_ms", "CPU ms an answer")]


def draw(name, job, file):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "font.size": 8})
    from matplotlib import pyplot

    entries = {key: entry for key, entry in job["entries"].items() if any(entry["rounds"])}
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(3.2 * len(PANELS), 3.4), layout="constrained")
    for panel, (part, title) in zip(panels, PANELS, strict=True):
        for entry in entries.values():
            loads = [key for key in next(told for told in entry["rounds"] if told)["loads"] if key.startswith("closed-")]
            points = [(int(key.split("-")[1]), spread([pick(told, ("loads", key, part)) for told in entry["rounds"]])) for key in loads]
            points = [(clients, told) for clients, told in points if told]
            if points:
                clients, told = zip(*points, strict=True)
                middle = [median for median, _, _ in told]
                bars = [[median - low for median, low, _ in told], [high - median for median, _, high in told]]
                panel.errorbar(clients, middle, yerr=bars, marker="o", markersize=3, linewidth=1, capsize=2, label=entry["title"])
        if part == "throughput":
            for form, rounds in job["bare"].items():
                told = spread([one["throughput"] for one in rounds])
                if told:
                    panel.axhline(told[0], linestyle=":", linewidth=1, color="grey", label=f"bare runtime, {form}")
        panel.set(xscale="log", yscale="log", title=title, xlabel="clients")
        panel.set_xticks([1, 8, 32], ["1", "8", "32"], minor=False)
        panel.grid(visible=True, which="major", linewidth=0.3)
    figure.suptitle(f"{name}: {job['title']}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def main():
    results, folder = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, job in results["jobs"].items():
        if any(any(entry["rounds"]) for entry in job["entries"].values()):
            draw(name, job, folder / f"{name}.svg")


if __name__ == "__main__":
    main()
