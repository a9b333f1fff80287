"""How well samples are spread, over the cells that draw them: proper scores and TARP at Table 1's default."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from composite_flow.analysis.sample_ranks import tarp
from composite_flow.analysis.sample_scores import sample_scores
from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.shared.cells import Results

KINDS = (
    ("joint_samples", "samples", "joint samples"),
    ("joint_samples", "marginals", "each feature from fusion's marginal"),
    ("composite_samples", "composite", "composite diffusion"),
    ("latent_diffusion", "samples", "diffusion with a latent mode"),
    ("joint_samples", "samples_3_of_5", "joint samples of three agents"),
    ("joint_samples", "marginals_3_of_5", "each feature from fusion's marginal, of three agents"),
)
"""The cell, the samples in it, and what people read."""
_TITLE = "Energy and variogram score of 16 samples of each test step; samples of the posterior have the least."
_SCORES = {"energy": "energy", "variogram": "variogram", "crps": "CRPS", "tarp_gap": "TARP, largest gap"}
_FIRST = ("energy", "variogram")  # the others came later, so that earlier cells lack them


def scores_told(samples: Float[Array, "steps samples state"], states: Float[Array, "steps state"]) -> dict[str, float]:
    """The scores of a cell's samples, averaged over steps; and how far TARP's coverage lies from what it should be."""
    scores = sample_scores(samples, states)
    told = {name: float(getattr(scores, name)) for name in ("energy", "crps", "variogram")}
    return {**told, "tarp_gap": float(tarp(samples, states, key=jax.random.key(0)).gap)}


def scores_of_samples(results: Results) -> list[dict[str, Any]]:
    """The mean of each score over the seeds, of each kind of samples that is there."""
    found = []
    for cell, name, title in KINDS:
        scores = [one["scores"].get(name) for one in results.get(cell, {}).values()]
        if scores and all(scores):
            names = [name for name in _SCORES if all(name in one for one in scores)]
            means = {name: float(np.mean([one[name] for one in scores])) for name in names}
            found.append({"title": title, "seeds": len(scores), **means})
    return found


def score_tables(scores: Sequence[Mapping[str, Any]]) -> list[PlainTable]:
    """One table, or none where no samples were drawn."""
    names = [name for name in _SCORES if name in _FIRST or any(name in one for one in scores)]
    rows = [(one["title"], one["seeds"], *(_number(one.get(name)) for name in names)) for one in scores]
    return [(_TITLE, ["", "seeds", *(_SCORES[name] for name in names)], rows)] if rows else []


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
