"""Measures what each activation costs beside ReLU.

    python -m benchmarks.activations
    python -m benchmarks.activations --rounds 3 --activations relu swish hard_swish

In: names of activations. It takes one process, one thread and about a minute. Out, in a new folder:
`activation_cost.csv` (a row per activation, where, pass and implementation),
`activation_cost_rounds.csv` (a row per round as well), `activation_cost.json` (facts of the
machine), `activation_cost.png` and `.svg`. What is measured and in which units:
`lenet_bench/training/activation_cost.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks import machine_facts, plots
from benchmarks.rounds import other_load, output_folder
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.errors import INTERRUPTED, UserError
from lenet_bench.reporting.figures import style
from lenet_bench.reporting.palette import activation_style
from lenet_bench.training.activation_cost import BATCH, DEFAULT_ROUNDS, KEYS, measure, summarise

PANELS = {
    ("element", "forward"): "element, forward",
    ("element", "forward_backward"): "element, both ways",
    ("lenet", "forward"): "LeNet-5, forward",
    ("lenet", "forward_backward"): "LeNet-5, a training step",
}
TORCH, STACKED = "torch", "lenet_bench"


def plot(summary: pd.DataFrame, caption: str) -> Figure:
    """Plot the time relative to ReLU: a dot per activation, its range over rounds as a line.

    Args:
        summary: The result of `summarise`. Activations are sorted by the time of a training step.
        caption: The title of the figure.
    """
    steps = summary[summary["where"].eq("lenet") & summary["pass"].eq("forward_backward")]
    order = list(steps.sort_values("relative_median", ascending=False)["activation"])
    places = {name: place for place, name in enumerate(order)}
    with style():
        figure = Figure(figsize=(9.6, 1.5 + 0.22 * len(order)), layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for axis, ((where, passes), title) in zip(axes, PANELS.items(), strict=True):
            part = summary[summary["where"].eq(where) & summary["pass"].eq(passes)]
            for row in part.to_dict("records"):
                look = activation_style(row["activation"])
                is_torch = row["implementation"] == TORCH
                place = places[row["activation"]] + (0.2 if is_torch else 0)
                low, high = row["relative_low"], row["relative_high"]
                axis.hlines(place, low, high, color=look.colour, linewidth=1, alpha=0.7)
                axis.plot(
                    row["relative_median"], place, marker=look.marker, color=look.colour,
                    markerfacecolor="white" if is_torch else look.colour, linestyle="none",
                )  # fmt: skip
            axis.axvline(1, color="#222222", linewidth=0.8, linestyle=(0, (1.2, 1.2)))
            if where == "element":  # ranges from 0 to tens of times ReLU
                axis.set_xscale("symlog", linthresh=1, linscale=0.4)
                most = part["relative_high"].max()
                ticks = [0, *(tick for tick in (1, 3, 10, 30, 100) if tick < 1.5 * most)]
                axis.set_xticks(ticks, [f"{tick}" for tick in ticks])
                axis.minorticks_off()
                axis.set_xlim(-0.1, 1.4 * most)
            axis.set_title(title)
            axis.grid(visible=True, axis="x")
        axes[0].set_yticks(np.arange(len(order)), order)
        axes[0].set_ylim(-0.7, len(order) - 0.3)
        figure.supxlabel(
            "time relative to ReLU (dot: median, line: range over rounds; filled: as in a stack, "
            "hollow: torch's module; logarithmic above 1 on the left)",
            size=8.5,
        )
        figure.suptitle(caption, x=0.01, ha="left", size=9)
    return figure


def print_table(summary: pd.DataFrame, console: Console) -> None:
    """Print the ratios, and the milliseconds of a training step of one run."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("activation")
    columns = {
        "torch": ("element", "forward_backward", TORCH),
        "stacked": ("element", "forward_backward", STACKED),
        "forward": ("lenet", "forward", STACKED),
        "training step": ("lenet", "forward_backward", STACKED),
    }
    for heading in (*columns, "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    by_key = {tuple(row[key] for key in KEYS): row for row in summary.to_dict("records")}
    for name in summary["activation"].unique():
        rows = [by_key.get((name, *key)) for key in columns.values()]
        cells = [f"{row['relative_median']:.2f}" if row else "" for row in rows]
        step = by_key[name, *columns["training step"]]
        cells[-1] += f" [{step['relative_low']:.2f}, {step['relative_high']:.2f}]"
        table.add_row(name, *cells, f"{step['nanoseconds_median'] * BATCH / 1e6:.2f}")
    console.print(table)
    console.print(
        "Relative to ReLU, median [range] over rounds. torch, stacked: per element, forward and "
        "backward. forward, training step: LeNet-5 in a stack; ms per run and step.",
        markup=False,
        soft_wrap=True,
    )


def read_options(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.activations",
        description="What an activation costs beside ReLU, per element and inside LeNet-5.",
    )
    parser.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS)
    parser.add_argument("--activations", nargs="+", metavar="NAME", default=list(ACTIVATIONS))
    parser.add_argument("--output", type=Path, help="a new folder; below runs/ by default")
    return parser.parse_args(command_line)


def main() -> None:
    """Measure, write the files and print the table."""
    arguments = read_options()
    try:
        _run(arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run(arguments: argparse.Namespace) -> None:
    with output_folder(arguments.output) as output:
        facts = machine_facts.facts()
        facts["threads"], facts["other_load"] = 1, other_load()
        try:
            measured = measure(arguments.rounds, arguments.activations)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        summary = summarise(measured)
        measured.to_csv(output / "activation_cost_rounds.csv", index=False)
        summary.to_csv(output / "activation_cost.csv", index=False)
        text = json.dumps(facts, indent=2)
        (output / "activation_cost.json").write_text(text + "\n", encoding="utf-8")
        caption = (
            f"Cost of an activation beside ReLU: batch {BATCH}, float32, "
            f"one thread ({facts['cpu']}), {arguments.rounds} rounds"
        )
        plots.save(plot(summary, caption), output, "activation_cost")
        print_table(summary, Console(highlight=False))
        print(f"wrote {output}")


if __name__ == "__main__":
    main()
