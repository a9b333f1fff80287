"""The policy that `--policy` names: of a run of `train-policy`, or a function of one's own."""

from pathlib import Path

from composite_flow.errors import InputError
from composite_flow.policy.saving import check_trained_in, load_policy
from composite_flow.problems.base import Policy, Problem
from composite_flow.problems.host import AnyProblem, HostProblem
from composite_flow.problems.host_policy import policy_from_text


def named_policy(named: str | None, greedy: bool, problem: AnyProblem) -> Policy | None:
    """The policy of a folder, which must fit the problem, or a function of one's own; None for random actions."""
    if named is not None and ":" in named and not Path(named).is_dir():
        if greedy or not isinstance(problem, HostProblem):
            raise InputError("MODULE:FUNCTION acts in worlds on the host alone, and as it is: leave --greedy out.")
        return policy_from_text(named)
    folder = None if named is None else Path(named)
    if folder is None:
        if greedy:
            raise InputError("--greedy needs a --policy, whose likeliest actions are then taken.")
        return None
    policy = load_policy(folder, greedy=greedy)
    policy.check(problem)
    if isinstance(problem, Problem):  # no policy is trained on the host: it comes from another world of the same sizes
        check_trained_in(folder, problem)
    return policy
