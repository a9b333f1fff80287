"""Dec-POMDPs: the contract, and worlds behind it."""

from composite_flow.problems.base import EnumerableProblem, Policy, Problem, RandomPolicy, ReactivePolicy
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.smax import SMAX, unseen_share
from composite_flow.problems.tabular import TabularProblem
from composite_flow.problems.text import problem_from_description, problem_from_text

__all__ = [
    "SMAX",
    "EnumerableProblem",
    "Policy",
    "Problem",
    "RandomPolicy",
    "ReactivePolicy",
    "SensorNetwork",
    "TabularProblem",
    "problem_from_description",
    "problem_from_text",
    "unseen_share",
]
