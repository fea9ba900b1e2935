"""Curves of what waiting costs against the number of waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CURVES = (
    ("requests", "requests in twenty poll intervals", 1.0),
    ("cpu", "CPU seconds in twenty poll intervals", 1.0),
    ("handshakes", "TLS handshakes", 1.0),
)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """
    Draw a panel for each measure, both axes logarithmic.

    :param results: one for each contender and number of waits.
    :param path: of the picture.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(CURVES), figsize=(13, 4.2))
    names = list(dict.fromkeys(row["contender"] for row in results))
    for panel, (key, title, _) in zip(panels, CURVES, strict=True):
        for number, name in enumerate(names):
            rows = sorted((row for row in results if row["contender"] == name), key=lambda row: row["n"])
            ours = name.startswith("xpander")
            panel.plot(
                [row["n"] for row in rows],
                [max(row[key], 0.01) for row in rows],
                marker="osD^vPX"[number % 7],
                linewidth=2.5 if ours else 1.2,
                linestyle="--" if "order" in name else "-",
                color="#c0392b" if ours else ("#7f8c8d", "#2980b9", "#27ae60", "#8e44ad")[number % 4],
                label=name,
            )
        panel.set(xscale="log", yscale="log", xlabel="tasks that wait", title=title)
        panel.set_xticks([100, 1000, 5000], ["100", "1,000", "5,000"])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncol=len(names), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=110)
