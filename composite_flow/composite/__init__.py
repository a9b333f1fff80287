"""CORE 3. Composite diffusion: agents pass one noisy state around and reach a state that all of them allow (§5).

Read `reconstruct` (Definition 6), then `rule` (what else agents can do with a message), `sampling`, `plan` and `turns`
(how often, who speaks when) and `given` (what all agents know already).
"""

from composite_flow.composite.check import check_rule
from composite_flow.composite.given import Given, give
from composite_flow.composite.plan import Plan, make_plan, speaking_order, speaking_positions, stir_scales
from composite_flow.composite.reconstruct import (
    Estimate,
    affordable_batch_size,
    composite_flow,
    reconstruct,
    reconstruct_batch,
    states_by_sweep,
)
from composite_flow.composite.rule import (
    CompositeDiffusion,
    CompositionRule,
    ParallelMean,
    agent_context,
    message_bytes,
    sweep,
)
from composite_flow.composite.sampling import Sampling, SamplingOptions
from composite_flow.composite.turns import Turns, draw_turns

__all__ = [
    "CompositeDiffusion",
    "CompositionRule",
    "Estimate",
    "Given",
    "ParallelMean",
    "Plan",
    "Sampling",
    "SamplingOptions",
    "Turns",
    "affordable_batch_size",
    "agent_context",
    "check_rule",
    "composite_flow",
    "draw_turns",
    "give",
    "make_plan",
    "message_bytes",
    "reconstruct",
    "reconstruct_batch",
    "speaking_order",
    "speaking_positions",
    "states_by_sweep",
    "stir_scales",
    "sweep",
]
