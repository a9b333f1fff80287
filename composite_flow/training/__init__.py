"""Training by Eq. (1): what is minimised, by which steps, on which data and devices.

Read `fit` (the loop), `config` (its settings), `loss` and `flow_loss` (what is minimised), `optimiser` (a step),
`streaming` (data larger than memory), `devices` (several of them) and `interrupt`.
"""

from composite_flow.training.config import DEFAULT_STEPS, TrainingConfig
from composite_flow.training.fit import TRAINING_FILE, fit

__all__ = ["DEFAULT_STEPS", "TRAINING_FILE", "TrainingConfig", "fit"]
