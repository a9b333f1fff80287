"""The findings of an analysis in a few plain sentences."""

from typing import Any

from composite_flow.numerics.rank import DEFAULT_THRESHOLD


def sentences(found: dict[str, Any]) -> tuple[str, ...]:
    """Summarise what `analyse` returned: ambiguity, deviations, capacity, bounds, shifts, how a team infers."""
    parts = (_ambiguity, _deviations, _capacity, _bounds, _shifts, _conformal, _composite, _fusion)
    return tuple(sentence for part in parts if (sentence := part(found)))


def _ambiguity(found: dict[str, Any]) -> str:
    pairs = found["pairs"]
    return (
        f"The data hold {pairs['histories']} distinct local histories with {pairs['pairs']} (history, state) pairs: "
        f"{_share(pairs['certain_histories'], pairs['histories'])} of the histories occur with one state only, the "
        f"most ambiguous one with {pairs['most_states']}."
    )


def _deviations(found: dict[str, Any]) -> str:
    pairs = found["pairs"]
    norms = pairs["deviation"]
    return (
        f"From {_share(pairs['stable'], pairs['pairs'])} of the pairs the flow rests at a stable fixed point. It lies "
        f"{norms['median']:.3g} away from the state in the median, {norms['q99']:.3g} at 99%, {norms['max']:.3g} at "
        f"most; the smallest distance between two states is {found['composite']['smallest_distance']:.3g}."
    )


def _capacity(found: dict[str, Any]) -> str:
    if found["surrogate"] is None:
        return "The state is too large for dense Jacobians, so there is no surrogate regression."
    rows = found["surrogate"]["epsilons"]
    under, over = (sum(row["capacity"][name] for row in rows) for name in ("num_under", "num_over"))
    value = found["ranks"]["all_columns"]["measures"][f"{DEFAULT_THRESHOLD:g}"]["correlation"]["value"]
    trend = "is constant" if value is None else f"has rank correlation {value:+.2f} with the deviation"
    return (
        f"Over all ε the sensitivity's rank is below the number of independent states around, as in an "
        f"under-parameterised network, for {_share(under, under + over)} of the anchors; the rank {trend} "
        "(the paper expects a negative one)."
    )


def _bounds(found: dict[str, Any]) -> str:
    if found["surrogate"] is None:
        return ""
    first, last = found["surrogate"]["epsilons"][0], found["surrogate"]["epsilons"][-1]
    told = "; ".join(
        f"{_percent(row['root']['share'])} of the deviations at the {where} ε ({row['epsilon']:.3g}), where it is "
        f"{_times(row['root']['ratio_median'])} the deviation"
        for where, row in (("smallest", first), ("largest", last))
    )
    return f"The root of the surrogate's residual covers {told}."


def _shifts(found: dict[str, Any]) -> str:
    error = found["shifts"]["relative_error"]["median"]
    if error is None:
        return ""
    return f"The linear model predicts the shift of a fixed point with a median relative error of {error:.2g}."


def _conformal(found: dict[str, Any]) -> str:
    radii, parts = found["conformal"], []
    for level in radii["deviation"]["levels"]:
        of_kinds = [radii[kind]["levels"][level] for kind in ("deviation", "estimate")]
        values, covered = [_radius(one["radius"]) for one in of_kinds], [one.get("coverage") for one in of_kinds]
        shown = " and ".join("–" if one is None else _percent(one) for one in covered)
        told = f"{values[0]} for deviations, {values[1]} for estimates ({shown} of the others covered)"
        parts.append(f"at {float(level):.0%} {told}")
    counts = f"{radii['deviation']['episodes']} and {radii['estimate']['episodes']} episodes"
    return (
        f"Conformal radii for all deviations, or all accepted estimates, of a whole new episode, from {counts}: "
        f"{'; '.join(parts)}."
    )


def _composite(found: dict[str, Any]) -> str:
    composite = found["composite"]
    claim = composite["theorem_7"]["error at most the largest deviation"]["accepted_by_paper"]
    held = "was not tried, as no sample was accepted"
    if claim["rate"] is not None:
        held = f"held for {_percent(claim['rate'])} of the joint histories"
    return (
        f"Composite diffusion ended {composite['medians']['error']:.3g} from the state in the median; Theorem 7's "
        f"bound, the largest deviation, {held}."
    )


def _fusion(found: dict[str, Any]) -> str:
    if "fusion" not in found:
        return ""
    fusion = found["fusion"]
    exact = "" if fusion["exact_rate"] is None else f", and exact for {_percent(fusion['exact_rate'])} of them"
    return (
        f"Fusion, one answer an agent, was {fusion['median_error']:.3g} off the state in the median of the same joint "
        f"histories, {fusion['psnr']:.3g} dB in all{exact}."
    )


def _share(count: int, total: int) -> str:
    return _percent(count / total) if total else "none"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.3g}%"


def _times(ratio: float | None) -> str:
    return "no multiple of" if ratio is None else f"{ratio:.3g} times"


def _radius(value: float | None) -> str:
    return "infinite for want of episodes" if value is None or value == float("inf") else f"{value:.3g}"
