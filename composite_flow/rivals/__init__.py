"""What composite diffusion is held against, beside `baselines.py`: other networks, trained with equal means.

A stronger denoiser (`residual.py`), a regression that sees every history at once (`regression.py`) and a conditional
variational autoencoder (`variational.py`), all by the optimiser, the schedule and the data of `fit` (`training.py`).
"""

from composite_flow.rivals.regression import JointPairs, joint_regression, regression_losses
from composite_flow.rivals.residual import ResidualNetwork
from composite_flow.rivals.training import Trained, matching_width, num_parameters, train_rival
from composite_flow.rivals.variational import VariationalAutoencoder, evidence_losses, prior_samples

__all__ = [
    "JointPairs",
    "ResidualNetwork",
    "Trained",
    "VariationalAutoencoder",
    "evidence_losses",
    "joint_regression",
    "matching_width",
    "num_parameters",
    "prior_samples",
    "regression_losses",
    "train_rival",
]
