"""Figure 5 in tables: what trained teams reach, how the curves differ, and what changes at execution do."""

from collections.abc import Mapping, Sequence
from typing import Any

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.figure5.report import MOMENTS, signed
from composite_flow_paper.figure5.team import MATCHED, REMEMBERING

TITLES = {
    "agent": "own observation",
    MATCHED: "own observation, as many weights",
    REMEMBERING: "own observation, recurrent",
    "observations": "all observations",
    "state": "true state",
    "denoised": "inferred state",
    "composite": "inferred together",
    "composite-shared": "inferred together, all act on the last",
    "belief": "carried by the team",
    "remembering-belief": "carried by the team, recurrent",
    "own-belief": "carried by each agent",
    "learned-messages": "taught by the policy's gradient",
    "safe": "inferred, least V",
    "mean": "inferred, mean Q",
    "quantile": "inferred, quantile of Q",
    "cvar": "inferred, CVaR of Q",
}
MEASURES = {"win_rate": "win rate", "return": "return"}


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Title, header and rows of each table."""
    found = []
    for name, world in summary["worlds"].items():
        if world["curves"]:
            found += [_reached_content(name, world), _compared_content(name, world)]
            changes = [change for curve in world["curves"].values() for change in curve["changed"]]
            found += [_changed_content(name, world, list(dict.fromkeys(changes)))] if changes else []
    found += [_corrected_content(summary["corrected"])] if summary["corrected"] else []
    return found + ([_overall_content(summary["overall"])] if summary["overall"] else [])


def _corrected_content(rows: Sequence[Mapping[str, Any]]) -> PlainTable:
    title = (
        f"The paper's order, corrected for {len(rows)} comparisons: two claims in each world, at the end of training "
        "and on average over it.\np-values are adjusted by Holm's rule; a claim is decided below 0.05."
    )
    told = [
        [
            row["world"] + (" (chosen after)" if row["chosen_after"] else ""), row["claim"],
            "at the end" if row["moment"] == "final" else "over training", signed(row),
            f"{row['p_value']:.2g}", f"{row['adjusted']:.2g}", row["verdict"], row["verdict_corrected"],
        ]
        for row in rows
    ]  # fmt: skip
    return title, ["world", "claim", "", "difference", "p", "adjusted", "alone", "corrected"], told


def _overall_content(overall: Mapping[str, Any]) -> PlainTable:
    title = (
        "All worlds: what is reached, as a share of what the true state gives\n"
        "IQM over worlds and seeds, with its bootstrap over the seeds of each world."
    )
    rows = [
        [curve_title(curve), within({"mean": part["interquartile_mean"], "interval": part["bootstrap"]})]
        for curve, part in overall.items()
    ]
    return title, ["", "share"], rows


def _reached_content(name: str, world: Mapping[str, Any]) -> PlainTable:
    measure = MEASURES[world["measure"]]
    unseen = "Not collectively observable: some living enemy is often seen by nobody.\n"
    title = (
        f"{name} ({world['problem']}): {measure} after training\n{unseen if world['measure'] == 'win_rate' else ''}"
        "In brackets: 95% intervals, of the mean over seeds and episodes, of the interquartile mean over seeds alone.\n"
        "Of fewer than four seeds the IQM is the mean, and its bootstrap hardly more than their range."
    )
    header = ["", "seeds", "weights", measure, "IQM", "PSNR", "certain", "right then", "messages", "bytes", "steps/s"]
    rows = [
        [
            curve_title(curve), part["seeds"], f"{part['weights']:,}", within(part["final"]),
            within({"mean": part["final"]["interquartile_mean"], "interval": part["final"]["bootstrap"]}),
            number_or_none(part["final_psnr"], ".1f"), number_or_none(part["final_certain"], ".0%"),
            number_or_none(part["final_right_when_certain"], ".0%"), number_or_none(part["messages"] or None, "g"),
            number_or_none(part["message_bytes"] or None, ",g"), f"{part['steps_per_second']:,.0f}",
        ]
        for curve, part in world["curves"].items()
    ]  # fmt: skip
    return title, header, rows


def _compared_content(name: str, world: Mapping[str, Any]) -> PlainTable:
    title = "\n".join(
        [
            f"{name}: differences in {MEASURES[world['measure']]}",
            *(world["ordering"][moment]["sentence"] for moment in MOMENTS),
        ]
    )
    rows = [
        [f"{curve_title(pair.split(' over ')[0])} above {curve_title(pair.split(' over ')[1])}", *_both(part)]
        for pair, part in world["compared"].items()
    ]
    if world["less_seen"]:
        rows.append([f"what inference adds, above that in {world['less_seen']['than']}", *_both(world["less_seen"])])
    return title, ["", "at the end", "is", "over training", "is"], rows


def _both(part: Mapping[str, Any]) -> list[str]:
    return [cell for moment in MOMENTS for cell in (signed(part[moment]), part[moment]["verdict"])]


def _changed_content(name: str, world: Mapping[str, Any], changes: list[str]) -> PlainTable:
    title = f"{name}: {MEASURES[world['measure']]} where something is changed at execution"
    rows = [
        [curve_title(curve), within(part["final"]), *(within(part["changed"].get(change)) for change in changes)]
        for curve, part in world["curves"].items()
        if part["changed"]
    ]
    return title, ["", "as trained", *changes], rows


def curve_title(curve: str) -> str:
    """A curve's name, and what its actors see."""
    return f"{curve} ({TITLES[curve]})"


def within(part: Mapping[str, Any] | None) -> str | None:
    """A mean with its interval."""
    if part is None:
        return None
    low, high = part["interval"] or (None, None)
    return f"{part['mean']:.3g}" + ("" if low is None else f" ({low:.3g} to {high:.3g})")


def number_or_none(value: float | None, form: str) -> str | None:
    """A number in this form, where there is one."""
    return None if value is None else format(value, form)
