"""The tables that pages show of each experiment's summary."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from composite_flow.files.plain_table import PlainTable, TableValue
from composite_flow_paper.pages.words import number, rate, within

_OWN = {"figure2": "figure2.report", "table1": "table1.report", "figure5": "figure5.tables"}


def tables_of(experiment: str, summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """All tables of one experiment: its own, and for those that make none, the ones below."""
    tables: Callable[[Mapping[str, Any]], Sequence[PlainTable]]
    if experiment in _OWN:
        tables = import_module(f"composite_flow_paper.{_OWN[experiment]}").tables
    else:
        tables = _BELOW[experiment]
    return tables(summary)


def figure3_tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Deviations and ranks at each setting of each panel, with their trends."""
    measures = {
        "Deviations": ("deviation_mean", "deviation_median"),
        "Ranks": ("rank_mean", "effective_rank_mean"),
    }
    panels = {"width": "width", "states": "states", "samples": "training pairs"}
    found = []
    for title, names in measures.items():
        rows = [
            _trend_row(f"{name.replace('_', ' ')}, by {words}", summary[panel], name)
            for name in names
            for panel, words in panels.items()
        ]
        header = ["", "settings", "mean over seeds at each", "trend (95%)", "p", "the paper's claim"]
        found.append((f"{title} of fixed points at each setting", header, rows))
    return found


def _trend_row(words: str, panel: Mapping[str, Any], name: str) -> list[TableValue]:
    trend = panel[f"{name}_trend"]
    means = [sum(values) / len(values) for values in panel[name]]
    return [
        words,
        ", ".join(f"{setting:,}" for setting in panel["settings"]),
        ", ".join(number(mean, ".2f" if name.startswith("deviation") else ".1f") for mean in means),
        within(trend["spearman"], trend["interval"], "+.2f"),
        number(trend["p_value"], ".2g"),
        trend["claim"],
    ]


def figure4_tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Where flows of random teams of each size end, for each way of training and sampling."""
    columns = {
        "Eq. (1)": summary["partial"],
        "also where flows go": summary["flows"]["partial"],
        "– stirred": summary["flows"]["stirred"],
        "ideal denoiser": summary["ideal"]["partial"],
        "ideal, stirred": summary["ideal"]["stirred"],
    }
    whole = max(summary["flows"]["stirred"], key=int)
    sizes = [size for size in summary["partial"] if size != whole]
    questions = (
        ("inside", "end in a state that all of them allow"),
        ("identified", "of teams that know the state: end in it"),
    )
    rows: list[list[TableValue]] = [
        [f"{size} participants: {words}", *(rate(column[size][name]) for column in columns.values())]
        for name, words in questions
        for size in sizes
    ]
    exact = {"Eq. (1)": summary["exact_rate"], "also where flows go": summary["flows"]["exact_rate"]}
    last = [exact.get(title) or column.get(whole, {}).get("identified") for title, column in columns.items()]
    rows.append([f"all {whole}: in the true state", *map(rate, last)])
    return [("Partial flows", ["", *columns], rows)]


def scale_tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """What a training step and a sweep cost among more and more sensors."""
    header = [
        "sensors",
        "areas",
        "inputs of the network",
        "training step",
        "composite sweep",
        "per call",
        "peak memory",
    ]
    rows = [
        [
            f"{one['agents']:,}",
            f"{one['state']:,}",
            f"{one['inputs']:,}",
            f"{1e3 * one['step_seconds']:.0f} ms",
            f"{1e3 * one['sweep_seconds']:.0f} ms",
            f"{1e3 * one['seconds_per_call']:.2f} ms",
            f"{one['peak_gigabytes']:.2f} GB",
        ]
        for one in summary["costs"]
    ]
    return [("Costs", header, rows)]


_BELOW = {"figure3": figure3_tables, "figure4": figure4_tables, "scale": scale_tables}
