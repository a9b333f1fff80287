"""What the cells come to: PSNR of every way with intervals over episodes, and what all histories leave open."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from composite_flow.files.plain_table import PlainTable
from composite_flow.metrics import decibels
from composite_flow_paper.shared.cells import Results, of_group
from composite_flow_paper.worlds.cell import WorldsSettings

WAYS = {
    "constant": "constant",
    "ridge_alone": "ridge, each alone",
    "individual": "individual flows",
    "ridge": "ridge, jointly",
    "composite": "composite diffusion",
    "fusion": "fusion",
    "joint_regression": "joint regression",
}
JOINT = ("ridge", "composite", "fusion", "joint_regression")
"""Of them those that use all agents' histories."""
RESAMPLES = 2000


def summarise(settings: WorldsSettings, results: Results) -> dict[str, Any]:
    """Of each world its sizes and costs, and of each way the PSNR over all seeds."""
    found = {world.name: of_group(results, world.name) for world in settings.worlds}
    texts = {world.name: world.text for world in settings.worlds}
    return {"worlds": {name: summarise_world(texts[name], cells) for name, cells in found.items() if cells}}


def summarise_world(text: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One world over its seeds; `open` is the share of the variance that the best joint estimate leaves."""
    steps = np.concatenate([cell["steps"] for cell in cells]).astype(np.float64)
    sums = {way: np.concatenate([cell["errors"][way] for cell in cells]) for way in WAYS}
    mean = {way: float(errors.sum() / steps.sum()) for way, errors in sums.items()}
    return {
        "world": text,
        **cells[0]["sizes"],
        "varying": max(cell["varying"] for cell in cells),
        "open": min(mean[way] for way in JOINT) / mean["constant"],
        "seeds": len(cells),
        "minutes": float(np.mean([cell["train_seconds"] for cell in cells])) / 60,
        "ways": {
            way: {
                **psnr_with_interval(errors, steps, sums["constant"]),
                "above_of_seeds": [_above_of(cell, way) for cell in cells],
            }
            for way, errors in sums.items()
        },
    }


def _above_of(cell: Mapping[str, Any], way: str) -> float:
    """Decibels above the constant of one seed."""
    own, constant = (float(np.sum(cell["errors"][name])) for name in (way, "constant"))
    return float(decibels(own) - decibels(constant))


def psnr_with_interval(
    errors: Float[np.ndarray, " episodes"], steps: Float[np.ndarray, " episodes"], base: Float[np.ndarray, " episodes"]
) -> dict[str, Any]:
    """PSNR of sums of squared errors, and how far it is `above` that of others; each with its 95% interval.

    Episodes are drawn again, the same for both, so that those that are hard for all do not widen the difference.
    """
    own, other = _drawn_again(errors, steps), _drawn_again(base, steps)
    psnr, constant = (float(decibels(sums.sum() / steps.sum())) for sums in (errors, base))
    low, high = _middle(own)
    return {"psnr": psnr, "low": low, "high": high, "above": [psnr - constant, *_middle(own - other)]}


def _drawn_again(
    errors: Float[np.ndarray, " episodes"], steps: Float[np.ndarray, " episodes"]
) -> Float[np.ndarray, " draws"]:
    """PSNR of episodes that are drawn with replacement, in the same draws for all errors."""
    drawn = np.random.default_rng(0).integers(len(steps), size=(RESAMPLES, len(steps)))
    return decibels(errors[drawn].sum(axis=1) / steps[drawn].sum(axis=1))


def _middle(values: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """PSNR by way and world; then what the worlds are."""
    worlds = summary["worlds"]
    header = ["", *worlds]
    rows = [(words, *(_shown(world["ways"][way]) for world in worlds.values())) for way, words in WAYS.items()]
    title = "Worlds: PSNR in dB, and its 95% interval over test episodes"
    about = ["", "seeds", "agents", "observation", "state", "varying", "open", "CPU-minutes"]
    sizes = [
        (
            world["world"],
            *(str(world[part]) for part in ("seeds", "agents", "observation", "state", "varying")),
            f"{world['open']:.0%}",
            f"{world['minutes']:.1f}",
        )
        for world in worlds.values()
    ]
    above = [(words, *(_above(world["ways"][way]) for world in worlds.values())) for way, words in WAYS.items()]
    better = "Worlds: PSNR above the constant in dB, and its 95% interval over the same draws of episodes"
    return [
        (title, header, rows),
        (better, header, above[1:]),
        ("Worlds: sizes, what all histories leave open, and training", about, sizes),
    ]


def _shown(way: Mapping[str, Any]) -> str:
    return f"{way['psnr']:.2f} ({way['low']:.2f} to {way['high']:.2f})"


def _above(way: Mapping[str, Any]) -> str:
    middle, low, high = way["above"]
    return f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"
