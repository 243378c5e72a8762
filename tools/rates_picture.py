"""Inner rates by layer and step of several runs, side by side, as the papers draw them.

python tools/rates_picture.py rates.png runs/alfa runs/lslr runs/personalized runs/pamela
"""

import json
from pathlib import Path

import click
import numpy as np


def layer_rates(run: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Layers, and the means and standard deviations over test episodes of their weights' rates,
    `[layers, steps]`; one line where one rate serves all."""
    from trainers import learner
    from trainers.recorded import read_config
    from trainers.run_directory import find
    from trainers.sources import open_source

    config, _ = read_config(find(run))
    rates = json.loads((run / "results.json").read_text())["rates"]["test"]
    means, deviations = np.array(rates["mean"]), np.array(rates["std"])
    if means.ndim == 1:
        return ["all"], means[np.newaxis], deviations[np.newaxis]
    names = learner.build(config, open_source(config.dataset)).adapted_names()
    chosen = [i for i, name in enumerate(names) if name.endswith("weight") and ".norm" not in name]
    layers = [names[i].removesuffix(".weight") for i in chosen]
    return layers, means[:, chosen].T, deviations[:, chosen].T


@click.command()
@click.argument("picture", type=click.Path(path_type=Path))
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
def main(picture: Path, runs: tuple[Path, ...]) -> None:
    """Draw the rates of RUNS into PICTURE, a panel a run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(runs), 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(runs), squeeze=False)[0]
    for panel, run in zip(panels, runs, strict=True):
        layers, means, deviations = layer_rates(run)
        steps = np.arange(1, means.shape[1] + 1)
        for layer, mean, deviation in zip(layers, means, deviations, strict=True):
            panel.plot(steps, mean, marker="o", markersize=3, label=layer)
            panel.fill_between(steps, mean - deviation, mean + deviation, alpha=0.15)
        panel.axhline(0, color="black", linewidth=0.5)
        panel.set_title(run.name)
        panel.set_xticks(steps)
        panel.set_xlabel("inner step")
        panel.legend(
            fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2
        )
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("inner rate")
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    main()
