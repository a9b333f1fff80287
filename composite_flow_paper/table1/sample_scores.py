"""How well samples are spread, over the cells that draw them: energy and variogram score at Table 1's default."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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


def scores_of_samples(results: Results) -> list[dict[str, Any]]:
    """The mean of both scores over the seeds, of each kind of samples that is there."""
    found = []
    for cell, name, title in KINDS:
        scores = [one["scores"].get(name) for one in results.get(cell, {}).values()]
        if scores and all(scores):
            means = {score: float(np.mean([one[score] for one in scores])) for score in ("energy", "variogram")}
            found.append({"title": title, "seeds": len(scores), **means})
    return found


def score_tables(scores: Sequence[Mapping[str, Any]]) -> list[PlainTable]:
    """One table, or none where no samples were drawn."""
    rows = [(one["title"], one["seeds"], f"{one['energy']:.3f}", f"{one['variogram']:.3f}") for one in scores]
    return [(_TITLE, ["", "seeds", "energy", "variogram"], rows)] if rows else []
