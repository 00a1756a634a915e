"""Charts as SVG files, by a matplotlib that is pinned beside this file and lies in the user's cache."""

from pathlib import Path

import packages

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 7.2, 3.8


def draw(charts, folder):
    """Writes each chart into the folder under its name."""
    packages.use(HERE / "charts.txt")
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file, text stays text, and both kinds of background are fine.
    matplotlib.rcParams.update({
        "svg.hashsalt": "marserve", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
        "savefig.facecolor": "white",
    })
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for chart in charts:
        figure, axes = pyplot.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
        for series in chart.series:
            axes.plot(series.xs, series.ys, label=series.name, marker="o" if chart.points else None,
                      markersize=4, linewidth=1.5)
        for axis in chart.logarithmic:
            getattr(axes, f"set_{axis}scale")("log")
        if "y" not in chart.logarithmic:
            axes.set_ylim(bottom=0)
        axes.set_title(chart.title, loc="left")
        axes.set_xlabel(chart.across)
        axes.set_ylabel(chart.up)
        if len(chart.series) > 1:
            axes.legend(frameon=False)
        figure.savefig(folder / f"{chart.name}.svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
