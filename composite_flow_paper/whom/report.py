"""What the cells come to: how many messages it takes until 95% of what the team removes of the error is removed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.shared.cells import Results, of_group
from composite_flow_paper.whom.cell import WhomSettings

SHARE, TARGET = 0.95, 0.8
"""Of the error that the whole team removes; of the messages that the exact greedy choice saves over random order."""
GROUP = "asking"
NAMES = {
    "exact": "exact greedy choice",
    "learned": "`next_agent`, learned",
    "best_fixed": "best fixed order",
    "by_number": "by number",
    "random": "at random",
}
KINDS = {
    "team": ("errors", "stopping"),
    "exact": ("exact_errors", "exact_stopping"),
}
"""What is judged: what the team says, or the exact mean given what the same agents saw."""


def summarise(settings: WhomSettings, results: Results) -> dict[str, Any]:
    """Messages and saved shares of every order, by what is judged, over the seeds."""
    cells = of_group(results, GROUP)
    kinds = {kind: summarise_kind(cells, *names) for kind, names in KINDS.items()}
    saved = kinds["team"]["learned"]["saved_of_seeds"]
    seconds = {name: [cell[name] for cell in cells] for name in ("fusion_seconds", "next_agent_seconds", "seconds")}
    return {
        "agents": cells[0]["agents"],
        "states": cells[0]["states"],
        "cases": cells[0]["cases"],
        "seeds": len(cells),
        "kinds": kinds,
        "curves": {order: curves_of(cells, order) for order in NAMES},
        "saved": float(np.mean(saved)),
        "saved_of_seeds": saved,
        "target": TARGET,
        "reached": bool(np.mean(saved) >= TARGET),
        **seconds,
    }


def summarise_kind(cells: Sequence[Mapping[str, Any]], errors: str, stopping: str) -> dict[str, Any]:
    """Of every order the messages, also where each case stops at an accuracy of its own, and the share it saves."""
    messages = {order: [messages_needed(cell["orders"][order][errors]) for cell in cells] for order in NAMES}
    stopped = {
        order: [messages_of_stopping(cell["orders"][order][errors], cell["orders"][order][stopping]) for cell in cells]
        for order in NAMES
    }
    return {
        order: {
            "messages": float(np.mean(messages[order])),
            "messages_of_seeds": messages[order],
            "stopped": float(np.mean(stopped[order])),
            "stopped_of_seeds": stopped[order],
            "saved_of_seeds": [
                saved_share(*counts)
                for counts in zip(messages[order], messages["random"], messages["exact"], strict=True)
            ],
        }
        for order in NAMES
    }


def curves_of(cells: Sequence[Mapping[str, Any]], order: str) -> dict[str, Any]:
    """The share of the error that is removed after each number of messages, over the seeds, by what is judged."""
    removed = {
        kind: np.mean([removed_share(cell["orders"][order][errors]) for cell in cells], axis=0).tolist()
        for kind, (errors, _) in KINDS.items()
    }
    stopped = [
        {"messages": [one["messages"] for one in parts], "removed": [share_of(errors, one["error"]) for one in parts]}
        for errors, parts in ((cell["orders"][order]["errors"], cell["orders"][order]["stopping"]) for cell in cells)
    ]
    means = {name: np.mean([each[name] for each in stopped], axis=0).tolist() for name in ("messages", "removed")}
    return {**removed, "stopped": means}


def saved_share(ours: float, random: float, exact: float) -> float:
    """The share of the messages that the exact choice saves over random order; not a number where it saves none."""
    return (random - ours) / (random - exact) if random > exact else float("nan")


def share_of(errors: Sequence[float], error: float) -> float:
    """How much of what the whole team removes is removed where this error is left."""
    return (errors[0] - error) / (errors[0] - errors[-1])


def removed_share(errors: Sequence[float]) -> list[float]:
    """The same after each number of messages."""
    return [share_of(errors, error) for error in errors]


def messages_needed(errors: Sequence[float], share: float = SHARE) -> float:
    """The number of messages after which so much is removed, linear between whole numbers."""
    removed = removed_share(errors)
    after = next(count for count, value in enumerate(removed) if value >= share)
    before = after - 1
    return before + (share - removed[before]) / (removed[after] - removed[before])


def messages_of_stopping(
    errors: Sequence[float], stopping: Sequence[Mapping[str, float]], share: float = SHARE
) -> float:
    """Mean messages where every case stops by itself and so much is removed of all; not a number where it never is.

    Bounds fall; between two of them it is linear.
    """
    removed = [share_of(errors, one["error"]) for one in stopping]
    after = next((count for count, value in enumerate(removed) if value >= share), None)
    if after is None or after == 0:
        return float("nan")
    messages = [one["messages"] for one in stopping[after - 1 : after + 1]]
    return float(np.interp(share, removed[after - 1 : after + 1], messages))


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """A table for each of what is judged."""
    titles = {"team": "what the team says", "exact": "the exact mean of what the same agents saw"}
    return [table_of(f"Whom to ask: {words}", summary["kinds"][kind]) for kind, words in titles.items()]


def table_of(title: str, orders: Mapping[str, Any]) -> PlainTable:
    """A row for each order."""
    header = [
        "order",
        "messages (range over seeds)",
        "of what the exact choice saves",
        "where each case stops by itself",
    ]
    rows = []
    for order, words in NAMES.items():
        found = orders[order]
        seeds, saved = found["messages_of_seeds"], found["saved_of_seeds"]
        spread = f"{found['messages']:.1f} ({min(seeds):.1f} to {max(seeds):.1f})"
        stopped = "–" if found["stopped"] is None else f"{found['stopped']:.1f}"
        rows.append((words, spread, f"{np.mean(saved):.0%}", stopped))
    return title, header, rows
