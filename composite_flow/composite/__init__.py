"""CORE 3. Composite diffusion: agents pass one noisy state around and reach a state that all of them allow (§5).

Read `reconstruct` (Definition 6), then `plan` (who speaks when) and `given` (what all agents know already).
"""

from composite_flow.composite.given import Given, give
from composite_flow.composite.plan import Plan, make_plan, speaking_order, speaking_positions, stir_scales
from composite_flow.composite.reconstruct import (
    Estimate,
    affordable_batch_size,
    agent_context,
    composite_flow,
    reconstruct,
    reconstruct_batch,
)

__all__ = [
    "Estimate",
    "Given",
    "Plan",
    "affordable_batch_size",
    "agent_context",
    "composite_flow",
    "give",
    "make_plan",
    "reconstruct",
    "reconstruct_batch",
    "speaking_order",
    "speaking_positions",
    "stir_scales",
]
