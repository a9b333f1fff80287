"""A small training run on shards, on all devices that JAX has: run by `test_devices.py`.

python training_team.py DATA OUT
"""

import sys

import jax
import numpy as np

from composite_flow.data import Episodes, HistoryDataset
from composite_flow.training.fit import TrainingConfig, fit

CONFIG = TrainingConfig(
    width=16, depth=1, batch=32, steps=60, warmup=5, record_every=20, evaluate_every=20, resident_gigabytes=5e-6
)


def train(data, out=None):
    """A run on shares of the data, each of which is trained on for 20 steps."""
    episodes = Episodes.load(data, in_memory=False)
    dataset = HistoryDataset(episodes, 2)
    return fit(dataset, None, CONFIG, key=jax.random.key(1), folder=out, evaluate=first_bias)


def first_bias(denoiser, step):
    """What evaluations are given is a whole network on one device."""
    assert len(denoiser.output_bias.devices()) == 1
    return {"first_bias": float(np.asarray(denoiser.output_bias)[0])}


if __name__ == "__main__":
    train(*sys.argv[1:])
    print(len(jax.devices()))
