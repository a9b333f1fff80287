"""Infer the state of a world that no agent sees whole, with composite diffusion.

    problem = SensorNetwork.grid(5, 5, num_targets=2)
    episodes = collect(problem, num_episodes=4096, key=key)
    train, validation, test = HistoryDataset(episodes, length=1).split(key=key)
    model = fit(train, validation, TrainingConfig(width=256), key=key)
    estimate = model.reconstruct(test.joint(test.steps[:1]).histories[0], key=key)

Agents are a leading array axis, and randomness comes in as a `key`: the same key gives the same result. What is wrong
with an argument or a file is told by a `CompositeFlowError`, in one sentence.
"""

import importlib
from typing import TYPE_CHECKING, Any

from composite_flow.belief import Belief, BeliefModel, exact_belief
from composite_flow.certificate.checks import Certificate, certify, certify_batch
from composite_flow.certificate.reconstruction import Reconstruction
from composite_flow.certificate.verdict import Verdict
from composite_flow.composite.check import check_rule
from composite_flow.composite.reconstruct import Estimate, reconstruct, reconstruct_batch
from composite_flow.composite.rule import CompositeDiffusion, CompositionRule, ParallelMean
from composite_flow.composite.sampling import Sampling
from composite_flow.data import Episodes, HistoryDataset, JointBatch, Scaling, collect
from composite_flow.denoiser import Denoiser, Fixed, IdealDenoiser, Uniform, check_denoiser
from composite_flow.deviation import deviations, measured_radius
from composite_flow.errors import CompositeFlowError, FileError, InputError, MismatchError, TooLargeError
from composite_flow.evaluation import Evaluation, evaluate
from composite_flow.files.estimates import Estimates
from composite_flow.fixed_points import FixedPoints, find_fixed_points
from composite_flow.flow import converge
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.history import History, HistoryLayout
from composite_flow.jacobian import state_jacobian
from composite_flow.metrics import exact_states, psnr, rate_lower_bound
from composite_flow.model import Model, load
from composite_flow.network import Network
from composite_flow.page.show import show
from composite_flow.probability_ode import probability_flow, score
from composite_flow.problems import (
    EnumerableProblem,
    Policy,
    Problem,
    RandomPolicy,
    ReactivePolicy,
    SensorNetwork,
    problem_from_description,
    problem_from_text,
    register_problem,
)
from composite_flow.problems.check import check_problem
from composite_flow.problems.compiled.world import from_jaxmarl, from_jumanji
from composite_flow.problems.dpomdp.file import from_dpomdp
from composite_flow.problems.pettingzoo import from_pettingzoo
from composite_flow.push_forward import push_forward_log_density
from composite_flow.runtime.agent import Agent
from composite_flow.training.calibrate import calibrate
from composite_flow.training.fit import TrainingConfig, fit

if TYPE_CHECKING:  # a third of the import's time, and most programs train no policy: see `__getattr__`
    from composite_flow.policy import (
        MappoConfig,
        PolicyInput,
        TrainedPolicy,
        evaluate_policy,
        load_policy,
        register_policy_input,
        train_policy,
    )

__version__ = "0.2.0"

__all__ = [
    "Agent",
    "Belief",
    "BeliefModel",
    "Certificate",
    "CompositeDiffusion",
    "CompositeFlowError",
    "CompositionRule",
    "Denoiser",
    "EnumerableProblem",
    "Episodes",
    "Estimate",
    "Estimates",
    "Evaluation",
    "FileError",
    "Fixed",
    "FixedPoints",
    "History",
    "HistoryDataset",
    "HistoryLayout",
    "IdealDenoiser",
    "InputError",
    "JointBatch",
    "MappoConfig",
    "MismatchError",
    "Model",
    "Network",
    "ParallelMean",
    "Policy",
    "PolicyInput",
    "Problem",
    "RandomPolicy",
    "ReactivePolicy",
    "Reconstruction",
    "Sampling",
    "Scaling",
    "SensorNetwork",
    "TeamEstimate",
    "Verdict",
    "TooLargeError",
    "TrainedPolicy",
    "TrainingConfig",
    "Uniform",
    "calibrate",
    "certify",
    "certify_batch",
    "check_denoiser",
    "check_problem",
    "check_rule",
    "collect",
    "converge",
    "deviations",
    "evaluate",
    "evaluate_policy",
    "exact_belief",
    "exact_states",
    "find_fixed_points",
    "fit",
    "from_dpomdp",
    "from_jaxmarl",
    "from_jumanji",
    "from_pettingzoo",
    "load",
    "load_policy",
    "measured_radius",
    "probability_flow",
    "problem_from_description",
    "problem_from_text",
    "psnr",
    "push_forward_log_density",
    "rate_lower_bound",
    "reconstruct",
    "reconstruct_batch",
    "register_policy_input",
    "register_problem",
    "score",
    "show",
    "state_jacobian",
    "train_policy",
]

_OF_POLICIES = (
    "MappoConfig",
    "PolicyInput",
    "TrainedPolicy",
    "evaluate_policy",
    "load_policy",
    "register_policy_input",
    "train_policy",
)


def __getattr__(name: str) -> Any:
    """Names of `composite_flow.policy`, which is loaded when the first of them is asked for."""
    if name not in _OF_POLICIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("composite_flow.policy"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_POLICIES})
