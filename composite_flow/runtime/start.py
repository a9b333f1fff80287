"""An agent's process from a model: the agent, the rule by which its team infers, and the process that runs both."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from composite_flow.denoiser import NoDenoiser
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.over_time.rule import Belief
from composite_flow.model import Model
from composite_flow.runtime.agent import Agent
from composite_flow.runtime.broadcast import Broadcast
from composite_flow.runtime.bus import Bus
from composite_flow.runtime.conversion import whole_answer, whole_shape
from composite_flow.runtime.identity import carries, model_checksum, sent_shapes
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Rule, Settings
from composite_flow.runtime.process import AgentProcess
from composite_flow.runtime.report import carried_report, ends_report, fused_report, mean_report, summed_report
from composite_flow.runtime.ring import Ring, Round
from composite_flow.runtime.rounds import CarriedMean, NoisyStates, OneMean
from composite_flow.runtime.tree import Tree
from composite_flow.validation import check_counts


def agent_process(
    bus: Bus, model: Model, name: str | int, settings: Settings, inference: Inference, loss: Loss | None = None
) -> AgentProcess:
    """The process of one agent of a team, with all that it will call compiled.

    Raises:
        InputError: there is no such agent, or the model did not learn what the rule needs.
    """
    rule, count = make_rule(model, inference), model.layout.num_agents  # which refuses what does not go together
    by, over_time = "chain" if inference.by == "chain" else "denoiser", inference.over_time
    agent = Agent(model, name, max_age=inference.max_age, by=by, over_time=over_time)
    warm_up(agent, rule)
    checksum = model_checksum(model, over_time, by_chain=by == "chain")
    return AgentProcess(bus, agent, checksum, settings, rule, count, loss or Loss())


def make_rule(model: Model, inference: Inference) -> Rule:
    """The rule of an inference; InputError where the model did not learn what it needs, or options do not fit."""

    def report(agent: Agent, size: int) -> dict[str, Any]:
        return fused_report(agent, size, inference.level, robust=inference.robust)

    count, fusion = model.layout.num_agents, model.fusion
    if inference.over_time and (fusion is None or fusion.over_time is None):
        raise lacking("filter", fusion=fusion is None)
    inference.check(carries(model))
    if inference.by in ("ring", "chain"):
        return Ring(count, _round(model, inference), inference.seed)
    if fusion is None:
        raise lacking()
    if inference.by == "tree":
        report_sum = partial(summed_report, level=inference.level)
        return Tree(count, whole_shape(fusion), whole_answer, report_sum)
    return Broadcast(sent_shapes(model, inference.over_time), report)


def _round(model: Model, inference: Inference) -> Round:
    """What goes round a ring."""
    size, fusion = len(model.state_names), model.fusion
    if inference.over_time:
        return CarriedMean(size, _carried_hop, carried_report)
    if inference.by == "chain":
        if fusion is None or fusion.chain is None:
            raise lacking("chain", fusion=fusion is None)
        return OneMean(np.asarray(fusion.chain.prior_mean), _plain_hop, mean_report)
    if isinstance(model.denoiser, NoDenoiser):
        model.denoiser.refuse()
    check_counts(num_samples=inference.num_samples, num_sweeps=inference.num_sweeps)
    return NoisyStates((inference.num_samples, size), inference.num_sweeps, inference.seed, _plain_hop, ends_report)


def _plain_hop(agent: Agent, y: np.ndarray, first: bool) -> np.ndarray:
    """Of a message that is nothing but states."""
    return np.asarray(agent.hop(y))


def _carried_hop(agent: Agent, y: np.ndarray, first: bool) -> np.ndarray:
    """Of a chain over time, whose message also says whether anybody has spoken."""
    return np.asarray(agent.hop(Belief(jnp.asarray(y), jnp.full(len(y), not first))).mean)


def warm_up(agent: Agent, rule: Rule) -> None:
    """Compile what a step calls, before anybody waits for it."""
    agent.observe(np.zeros(agent.model.layout.observation_size))
    rule.rehearse(agent)
    agent.reset()
