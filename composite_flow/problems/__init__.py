"""Dec-POMDPs: the contract, and worlds behind it."""

from composite_flow.problems.base import EnumerableProblem, Policy, Problem, RandomPolicy, ReactivePolicy
from composite_flow.problems.host import HostProblem
from composite_flow.problems.kinds import (
    problem_from_description,
    problem_from_text,
    register_problem,
    world_from_text,
)
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.smacv2 import SMACv2
from composite_flow.problems.smax import SMAX, unseen_share
from composite_flow.problems.tabular import TabularProblem

__all__ = [
    "SMAX",
    "EnumerableProblem",
    "HostProblem",
    "Policy",
    "Problem",
    "RandomPolicy",
    "ReactivePolicy",
    "SMACv2",
    "SensorNetwork",
    "TabularProblem",
    "problem_from_description",
    "problem_from_text",
    "register_problem",
    "unseen_share",
    "world_from_text",
]
