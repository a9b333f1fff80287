"""An agent's process from a model: the agent, the rule by which its team infers, and the process that runs both."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError
from composite_flow.fusion.lacking import lacking
from composite_flow.model import Model
from composite_flow.runtime.agent import Agent
from composite_flow.runtime.broadcast import Broadcast
from composite_flow.runtime.bus import Bus
from composite_flow.runtime.conversion import whole_answer, whole_shape
from composite_flow.runtime.identity import model_checksum, sent_shapes
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Rule, Settings
from composite_flow.runtime.process import AgentProcess
from composite_flow.runtime.report import ends_report, fused_report, summed_report
from composite_flow.runtime.ring import Ring
from composite_flow.runtime.tree import Tree
from composite_flow.validation import check_counts

By = Literal["broadcast", "tree", "ring"]


@dataclass(frozen=True)
class Inference:
    """How a team infers; the same for all its members.

    Attributes:
        by: each agent's answer sent to all; running sums along a tree; or composite diffusion round a ring.
        max_age: steps for which an answer counts after its own; by broadcast alone.
        level: of intervals.
        robust: leave out those whose answers contradict all others'; by broadcast alone.
        over_time: carry what the team knows from step to step; by broadcast alone.
        num_samples, num_sweeps: round a ring.
        seed: of the noises and orders round a ring.
    """

    by: By = "broadcast"
    max_age: int = 0
    level: float = 0.9
    robust: bool = False
    num_samples: int = 4
    num_sweeps: int = 6
    seed: int = 0
    over_time: bool = False


def agent_process(
    bus: Bus, model: Model, name: str | int, settings: Settings, inference: Inference, loss: Loss | None = None
) -> AgentProcess:
    """The process of one agent of a team, with all that it will call compiled.

    Raises:
        InputError: there is no such agent, or the model did not learn what the rule needs.
    """
    agent = Agent(model, name, max_age=inference.max_age, over_time=inference.over_time)
    rule, count = make_rule(model, inference), model.layout.num_agents
    warm_up(agent, rule)
    return AgentProcess(bus, agent, model_checksum(model, inference.over_time), settings, rule, count, loss or Loss())


def make_rule(model: Model, inference: Inference) -> Rule:
    """The rule of an inference."""

    def report(agent: Agent, size: int) -> dict[str, Any]:
        return fused_report(agent, size, inference.level, robust=inference.robust)

    if inference.over_time and (inference.by != "broadcast" or inference.robust):
        raise InputError("What is carried over time goes with the rule broadcast, without --robust.")
    if inference.by == "ring":
        if isinstance(model.denoiser, NoDenoiser):
            model.denoiser.refuse()
        check_counts(num_samples=inference.num_samples, num_sweeps=inference.num_sweeps)
        shape = inference.num_samples, model.denoiser.state_size
        return Ring(model.layout.num_agents, shape, inference.num_sweeps, inference.seed, ends_report)
    if model.fusion is None:
        raise lacking()
    if inference.by == "tree":
        report_sum = partial(summed_report, level=inference.level)
        return Tree(model.layout.num_agents, whole_shape(model.fusion), whole_answer, report_sum)
    return Broadcast(sent_shapes(model, inference.over_time), report)


def warm_up(agent: Agent, rule: Rule) -> None:
    """Compile what a step calls, before anybody waits for it."""
    agent.observe(np.zeros(agent.model.layout.observation_size))
    rule.rehearse(agent)
    agent.reset()
