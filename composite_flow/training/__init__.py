"""Training by Eq. (1): the loss, the steps that minimise it, and their data and devices.

Read `fit` (the loop), `config` (its settings), `loss` and `flow_loss` (the losses), `optimiser` (a step), `streaming`
(data larger than memory), `devices` (training on several devices) and `interrupt`.
"""

from composite_flow.training.config import DEFAULT_STEPS, TrainingConfig
from composite_flow.training.fit import TRAINING_FILE, fit

__all__ = ["DEFAULT_STEPS", "TRAINING_FILE", "TrainingConfig", "fit"]
