"""Baselines that composite diffusion is compared with: other ways to use the denoiser, and other networks.

`flows` has flows that need no communication, or another kind of it. The other networks are a stronger denoiser
(`residual`), a regression that sees every history at once (`regression`) and a conditional variational autoencoder
(`variational`). `training` trains them with the optimiser, the schedule and the data of `fit`. `ridge` is linear.
"""

from composite_flow.baselines.flows import (
    BASELINES,
    baseline_batch,
    individual_flow,
    mean_of_individual_flows,
    one_step,
    parallel_mean,
)
from composite_flow.baselines.regression import JointPairs, joint_regression, regression_losses
from composite_flow.baselines.residual import ResidualNetwork
from composite_flow.baselines.ridge import Ridge, RidgeByAge, fit_ridge, fit_ridge_by_age
from composite_flow.baselines.training import TrainedBaseline, matching_width, num_parameters, train_baseline
from composite_flow.baselines.variational import VariationalAutoencoder, evidence_losses, prior_samples

# The names that version 0.1 gave to two of these.
Trained, train_rival = TrainedBaseline, train_baseline

__all__ = [
    "BASELINES",
    "JointPairs",
    "ResidualNetwork",
    "Ridge",
    "RidgeByAge",
    "Trained",
    "TrainedBaseline",
    "VariationalAutoencoder",
    "baseline_batch",
    "evidence_losses",
    "fit_ridge",
    "fit_ridge_by_age",
    "individual_flow",
    "joint_regression",
    "matching_width",
    "mean_of_individual_flows",
    "num_parameters",
    "one_step",
    "parallel_mean",
    "prior_samples",
    "regression_losses",
    "train_baseline",
    "train_rival",
]
