"""The run as a picture."""

from pathlib import Path
from typing import Any

from training_bench.rows import OURS

COLOURS = {
    (True, "default"): "#8fb8dc",
    (True, "tuned"): "#1f6fb4",
    (False, "default"): "#e6bd9a",
    (False, "tuned"): "#c8702a",
}
NAMES = {True: "trainers", False: "other libraries"}


def plot(run: dict[str, Any], path: Path) -> None:
    """A panel an algorithm: a bar a row from the slowest to the quickest, on a logarithmic axis;
    beside it the times that it is as fast as learn2learn under the system's allocator."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    groups = [group for group in run["algorithms"] if group["rows"]]
    heights = [len(group["rows"]) for group in groups]
    figure, axes = pyplot.subplots(
        len(groups),
        figsize=(9, 0.27 * sum(heights) + 0.9 * len(groups) + 0.6),
        gridspec_kw={"height_ratios": [height + 1 for height in heights]},
        squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08),
    )
    for axis, group in zip(axes[:, 0], groups, strict=True):
        rows = sorted(group["rows"], key=lambda row: -row["median"])
        spread = [
            [row["median"] - row["min"] for row in rows],
            [row["max"] - row["median"] for row in rows],
        ]
        places = range(len(rows))
        axis.barh(
            places,
            [row["median"] for row in rows],
            color=[COLOURS[row["implementation"] == OURS, row["allocator"]] for row in rows],
            xerr=spread,
            error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
            log=True,
        )
        axis.set_yticks(places, [f"{row['name']}, {row['allocator']}" for row in rows])
        for position, row in enumerate(rows):
            times = row["times_peer_as_started"]
            text = f"{row['median']:.3g} s" + ("" if times is None else f", x{times:.2f}")
            axis.text(row["max"] * 1.05, position, text, va="center", size=7.5)
        least, most = min(row["min"] for row in rows), max(row["max"] for row in rows)
        axis.set_xlim(least / 2, most * 3)
        axis.set_ylim(-0.7, len(rows) - 0.3)
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set_title(f"{group['algo']}: seconds a meta-iteration", size=10, loc="left")
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    shown = {
        (row["implementation"] == OURS, row["allocator"])
        for group in groups
        for row in group["rows"]
    }
    handles = [
        pyplot.Rectangle((0, 0), 1, 1, color=colour, label=f"{NAMES[kind[0]]}, {kind[1]} allocator")
        for kind, colour in COLOURS.items()
        if kind in shown
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.suptitle(f"{run['title']}\nxN: times learn2learn as a user starts it", size=8)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
