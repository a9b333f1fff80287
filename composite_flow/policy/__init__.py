"""MAPPO: how a team learns to act, and the policy that comes of it."""

from composite_flow.policy.config import MappoConfig
from composite_flow.policy.evaluation import PolicyEvaluation, evaluate_policy
from composite_flow.policy.inputs import Known, PolicyInput, register_policy_input
from composite_flow.policy.run import train_policy
from composite_flow.policy.saving import load_policy
from composite_flow.policy.trained import TrainedPolicy

__all__ = [
    "Known",
    "MappoConfig",
    "PolicyEvaluation",
    "PolicyInput",
    "TrainedPolicy",
    "evaluate_policy",
    "load_policy",
    "register_policy_input",
    "train_policy",
]
