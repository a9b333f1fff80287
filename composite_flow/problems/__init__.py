"""Dec-POMDPs: the contract, and worlds behind it."""

from composite_flow.problems.base import EnumerableProblem, Policy, Problem, RandomPolicy, ReactivePolicy
from composite_flow.problems.host import HostProblem
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.smacv2 import SMACv2
from composite_flow.problems.smax import SMAX, unseen_share
from composite_flow.problems.tabular import TabularProblem
from composite_flow.problems.text import problem_from_description, problem_from_text, world_from_text

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
    "unseen_share",
    "world_from_text",
]
