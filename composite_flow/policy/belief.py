"""A team's belief that is carried over time, as what a policy infers by: a chain that filters, on the rule's contract.

One message goes once through the agents in each step, and on to the next step; all agents act on the last one. The
chain is learned before the policy (`composite-flow train --over-time residual`); it stays as it is, or learns on beside
the policy (`teaching`).
"""

from composite_flow.errors import InputError
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.rule import FilterDenoiser, FilterRule, filter_rule
from composite_flow.model import Model


def belief_of(model: Model | None, kind: str = "belief") -> tuple[FilterDenoiser, FilterRule]:
    """What a policy infers by, for an input of this kind.

    Raises:
        InputError: there is no model, or it learned no chain over time.
    """
    fusion = None if model is None else model.fusion
    if fusion is None or not isinstance(fusion.over_time, ChainFilter):
        raise InputError(
            f"The input '{kind}' needs a chain that was learned over time: give the folder of a run of `composite-flow "
            "train DATA --learn fusion --over-time residual --history 1`, or let agents learn one before: `--pretrain "
            "EPISODES`."
        )
    return filter_rule(fusion)
