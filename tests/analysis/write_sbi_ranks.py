"""Writes `sbi_ranks.json`: ranks and TARP of some samples as `sbi` computes them.

sbi brings PyTorch and a hundred other packages, so it is run in an environment of its own, not in the tests:

    python3 -m venv .venv-sbi && .venv-sbi/bin/pip install torch==2.13.0 sbi==0.27.0
    .venv-sbi/bin/python tests/analysis/write_sbi_ranks.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sbi.diagnostics.sbc import _run_sbc
from sbi.diagnostics.tarp import _run_tarp

SEED, STEPS, SAMPLES, STATE, BINS = 0, 400, 20, 3, 7  # no end of a bin but the outer ones is a multiple of 1/20

draws = np.random.default_rng(SEED)
states = draws.normal(size=(STEPS, STATE)).astype(np.float32)
samples = (0.2 + 0.8 * draws.normal(size=(STEPS, SAMPLES, STATE))).astype(np.float32)
references = draws.uniform(-2.0, 2.0, size=states.shape).astype(np.float32)

of_sample_first = torch.from_numpy(samples).swapaxes(0, 1)
marginals = [lambda values, column, k=k: values[:, k] for k in range(STATE)]
ranks = _run_sbc(torch.from_numpy(states), torch.zeros(STEPS, 1), of_sample_first, marginals, False)
coverage, levels = _run_tarp(of_sample_first, torch.from_numpy(states), torch.from_numpy(references), num_bins=BINS)
assert (levels[0], levels[-1]) == (0.0, 1.0)
counts = [np.bincount(column.astype(int), minlength=SAMPLES + 1).tolist() for column in ranks.numpy().T]
found = {
    "versions": {name: version(name) for name in ("sbi", "torch")},
    **{"seed": SEED, "steps": STEPS, "samples": SAMPLES, "state": STATE},
    "rank_counts": counts,
    "tarp_levels": [round(value, 6) for value in levels.tolist()],
    "tarp_coverage": [round(value, 6) for value in coverage.tolist()],
}
Path(__file__).with_name("sbi_ranks.json").write_text(json.dumps(found) + "\n")
