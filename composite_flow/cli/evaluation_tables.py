"""What `evaluate` prints: all ways, errors by feature, fusion by size of team, and what checks are worth.

What each line means stands in docs/evaluate.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from composite_flow.analysis.comparison import JOINT_SAMPLES
from composite_flow.certificate.conformal import calibration_episodes_needed
from composite_flow.cli.error_tables import CALIBRATE, as_share, error_tables, ways_of
from composite_flow.cli.reporting import table
from composite_flow.fusion.doubts import USUAL

_TELLS_LITTLE, _TELLS_NOTHING = 0.5, 0.95  # where a guess is right as often, "right" says so much of an estimate
_CLOSE = 0.5  # decibels
_MOST_NAMES = 12
_WIDE_ENOUGH = 0.8  # of samples, beside those of the exact posterior
_LARGE = 0.3  # share of the squared error from which a feature is said to make it
_BY = {"composite": "composite", "fusion": "fusion", "chain": "chain", "mean_of_joint_samples": "samples"}
WAYS = {
    "composite": "composite diffusion, single samples",
    "individual_flow": "each agent's own flow",
    "one_step": "one step from each noise, averaged",
    "mean_of_individual_flows": "own flows, averaged",
    "parallel_mean": "all at once, averaged each round",
    "fusion": "fusion",
    "chain": "gated chain",
    "filter": "filter over time",
    "mean_of_joint_samples": f"fusion, mean of {JOINT_SAMPLES} samples",
    "ridge_of_all_histories": "ridge regression, all histories",
    "ridge_of_own_history": "ridge regression, own history",
    "constant": "mean state, whatever is seen",
}


def evaluation_tables(result: Mapping[str, Any]):
    """All ways side by side, errors by feature, fusion by size of team, and the checks of composite diffusion."""
    fusion = [] if "fusion" not in result else [_sizes_table(result["fusion"])]
    checks = [] if "psnr_composite" not in result else [_checks_table(result)]
    if "ways" not in result:
        return [*fusion, _baselines_table(result), *checks]
    answering = [_answering_table(result)] if result["answering"] else []
    return [_ways_table(result), *error_tables(result), *fusion, *answering, *checks]


def _ways_table(result: Mapping[str, Any]):
    """Every way with its cost, which one to use, and what was left out."""
    binary = any(way["exact_rate"] is not None for way in result["ways"].values())
    known = result["apart"]["psnr_of_known"]
    columns = [*(["exact_rate"] if binary else []), "calls", "messages", "message_bytes"]
    rows = [
        (WAYS[name], way["psnr"], *([known.get(name)] if known else []), *(way[column] for column in columns))
        for name, way in result["ways"].items()
    ]
    title = f"How near each way comes to the true state, at {_moments(result)} (the more dB, the nearer)"
    title += f"\n{_advice(result)}{_unknown(result)}{_largest_parts(result['errors'])}{_elsewhere(result['errors'])}"
    title += _narrow_samples(result["sample_spread"])
    title += "".join(f"\n{reason}" for reason in result["left_out"].values())
    heads = {"exact_rate": "exact states", "message_bytes": "bytes each"}
    named = [*(["known features (dB)"] if known else []), *(heads.get(column, column) for column in columns)]
    return table(title, ("", "PSNR (dB)", *named), rows)


def _moments(result: Mapping[str, Any]) -> str:
    """Where it was measured: joint histories that were drawn, each with its state, and from how many episodes."""
    count, episodes = result["joint_histories"], result["episodes"]
    histories = f"{count:,} joint {'history' if count == 1 else 'histories'}"
    return f"{histories} drawn from {episodes:,} episode{'s' if episodes != 1 else ''}"


def _advice(result: Mapping[str, Any]) -> str:
    """The best way, those that these episodes do not tell from it, those close behind, and what `reconstruct` has."""
    ways, level = result["ways"], result["apart"]["level"]
    best = max(ways, key=lambda name: ways[name]["psnr"])
    same = [name for name in level.get(best, ()) if name in ways]
    near = [n for n in ways if n not in (best, *same) and ways[best]["psnr"] - ways[n]["psnr"] < _CLOSE]
    told = f"Best here, over all features together: {WAYS[best]}."
    if same:
        told = f"Best here, over all features together, and not told apart by {result['episodes']:,} episodes: "
        told += f"{' and '.join(WAYS[name] for name in (best, *same))}."
    close = f" Close behind (within {_CLOSE:g} dB): {', '.join(WAYS[name] for name in near)}." if near else ""
    learned = max((name for name in ways if name in _BY), key=lambda name: ways[name]["psnr"], default=None)
    if learned is None:
        return told + close
    use = f"`reconstruct RUN DATA --by {_BY[learned]}`"
    if best in _BY:
        return f"{told}{close} To infer states with this run: {use}."
    return f"{told}{close} No command infers states by {WAYS[best]}; of those that do the best is {use}."


def _unknown(result: Mapping[str, Any]) -> str:
    """The features of which the run knows nothing, as far as these episodes tell."""
    names, errors = result["apart"]["unknown"], result["errors"]
    if not names:
        return ""
    told = (
        f"\nNot known: {WAYS[errors['used']]} is no nearer than the mean state, by more than chance, in {_list(names)}."
    )
    return told + (' "Known features" are all others.' if result["apart"]["psnr_of_known"] else "")


def _narrow_samples(spread: float | None) -> str:
    """Whether joint samples are surer than right."""
    if spread is None or spread >= _WIDE_ENOUGH:
        return ""
    told = f"\nThe joint samples are surer than right: they spread by {spread:.0%} of what their errors ask for."
    return f"{told} Do not take their scatter for what is unknown; more data or steps of training may widen them."


def _list(names: Sequence[str]) -> str:
    """Some of the names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


def _largest_parts(errors: Mapping[str, Any]) -> str:
    """The features that make most of the squared error, of which PSNR then speaks; nothing where none stands out."""
    shares = sorted(errors["shares"].items(), key=lambda item: item[1], reverse=True)
    if len(shares) < 3 or shares[0][1] < max(_LARGE, 3 / len(shares)):
        return ""
    largest = ", ".join(f"{name} {share:.0%}" for name, share in shares[:3] if share >= _LARGE / 3)
    return f"\nPSNR is over all features, scaled. Most of the squared error of {WAYS[errors['used']]}: {largest}."


def _elsewhere(errors: Mapping[str, Any]) -> str:
    """The features in which another way errs less, or more, than the one that is used, by more than chance."""
    numbers, told = errors["numbers"], ""
    if not numbers:
        return told
    first, *others = ways_of(numbers)
    for way in others:
        better, worse = errors["better"].get(way, []), errors["worse"].get(way, [])
        if better:
            told += f"\nBut {WAYS[way]}: smaller mean error than {WAYS[first]}, by more than chance, in "
            told += f"{len(better)} of {len(numbers)} features: {_list(better)}; larger in {len(worse)}"
            told += f": {_list(worse)}." if worse else "."
        undecided = [name for name in numbers if name not in (*better, *worse)]
        if undecided and way != "constant":
            told += f"\nNot told apart from {WAYS[way]} by its mean error in {len(undecided)} of {len(numbers)} "
            told += f"features: {_list(undecided)}."
    return told


def _baselines_table(result: Mapping[str, Any]):
    """Composite diffusion beside the baselines that use its denoiser, as in the demo."""
    rows = [(WAYS["composite"], result["psnr_composite"], result["exact_rate_composite"], result["denoiser_calls"])]
    for name, scores in result["baselines"].items():
        rows.append((WAYS[name], scores["psnr"], scores["exact_rate"], scores["denoiser_calls"]))
    return table("Reconstruction", ("", "PSNR (dB)", "exact states", "denoiser calls"), rows)


def _sizes_table(found: Mapping[str, Any]):
    """Fusion by size of the team."""
    binary = any(scores["exact_rate"] is not None for scores in found["sizes"].values())
    rows = [
        (str(size), scores["psnr"], *([scores["exact_rate"]] if binary else []), size)
        for size, scores in found["sizes"].items()
    ]
    title = f"Fusion when only some agents answer, drawn at random; {found['message_bytes']} bytes an answer"
    title += f"\n(the mean state: {found['psnr_constant']:.4g} dB)"
    return table(title, ("agents that answer", "PSNR (dB)", *(["exact states"] if binary else []), "messages"), rows)


def _answering_table(result: Mapping[str, Any]):
    """What is gained where fusion answers only if it is sure."""
    found, count = result["answering"], result["joint_histories"]
    area, best, chance = found["area"], found["area_best"], found["area_random"]
    of = " of known features" if result["apart"]["psnr_of_known"] else ""
    title = f"Fusion that answers only where it claims to be surest: mean error ‖ŝ − s‖{of}, scaled to [0, 1]"
    title += f"\nAveraged over all shares from 0 to 100% {area:.3g}, where the best order would give {best:.3g}, and a "
    title += f"random one {chance:.3g}: {_order_in_words(area, best, chance)}."
    if found["accepted"] is not None:
        errors = "".join(_error_of(part, found) for part in ("accepted", "refused"))
        reasons = ", ".join(f"{number} {reason}" for reason, number in found["reasons"].items())
        title += "\nIts own verdict (sensors sound, histories like those of training, intervals narrow enough): "
        title += f"{round(count * found['accepted']):,} of {count:,} accepted{errors}"
        early = f", {found['refused_early']} of all these before histories are whole" if found["refused_early"] else ""
        title += f". Refused, from {found['refused_episodes']} episodes: {reasons}{early}." if reasons else "."
        title += "\nIt looks for what is broken, and need not lower the error where all is sound."
        title += _loose_checks(result["calibration_episodes"])
    return table(title, ("share answered", "error"), list(found["risk"].items()))


def _loose_checks(episodes: int | None) -> str:
    """Where calibration episodes are too few for the usual rate of false alarms."""
    needed = calibration_episodes_needed(1.0 - USUAL)
    if episodes is None or episodes >= needed:
        return ""
    told = f"\nCalibrated on {episodes:,} episodes, it finds sensors in doubt in more than one sound step in a hundred:"
    return f"{told} that takes {needed} ({CALIBRATE}), as `robust=True` does."


def _order_in_words(area: float, best: float, chance: float) -> str:
    """How much of what the best order would gain its claims gain."""
    gained = (chance - area) / (chance - best) if chance > best else 0.0
    if gained < 0.2:
        return "over these features together, what it claims of its own errors hardly tells good answers from bad ones"
    return f"what it claims of its own errors gains {gained:.0%} of what could be gained"


def _error_of(part: str, found: Mapping[str, Any]) -> str:
    error = found[f"error_{part}"]
    return "" if error is None else f", error of those {part} {error:.3g}"


def _checks_table(result: Mapping[str, Any]):
    """What the paper's checks of composite diffusion said, and whether that means anything."""
    guessing, unseen = result["right_by_guessing"], result["exact_rate_unseen_states"]
    passed, wrong = result["accepted_share"], result["wrong_among_accepted"]
    title = "Checks of composite diffusion (the paper's, and one more)"
    title += f"\nAn estimate counts as right if {result['right_means']}."
    title += _worth_of_checks(guessing, passed)
    rows = [
        ("estimates that pass", f"{passed:.1%}"),
        ("wrong among these", "tells nothing" if guessing >= _TELLS_NOTHING else as_share(wrong)),
        *([] if unseen is None else [("exact in states withheld from training", f"{unseen:.1%}")]),
    ]
    return table(title, ("", "share"), rows)


def _worth_of_checks(guessing: float, passed: float) -> str:
    """What keeps these checks from telling anything, where something does."""
    by_guess = "\nDo not rely on these checks in this run: by this measure even the mean state is right at "
    by_guess += f"{guessing:.0%} of the joint histories, so that"
    if guessing >= _TELLS_NOTHING:
        return f"{by_guess} hardly an estimate can be wrong."
    if guessing >= _TELLS_LITTLE:
        return f"{by_guess} being right says little."
    return "\nNo estimate passes: at this radius the checks refuse everything." if passed == 0.0 else ""
