"""Fusion among 25 sensors: exact rates of what the team says together, and samples of what parts of it know.

On the same episodes, divided in the same way, as composite diffusion's cells of the same seed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from composite_flow.belief import exact_belief
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.windows import JointBatch
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.team_denoiser import TeamDenoiser
from composite_flow.fusion.team_sampling import sample_blind, sample_conditional
from composite_flow.metrics import exact_states
from composite_flow_paper.figure4.cell import Figure4Settings, collected
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.shared.fusion_runs import every_state, fused_means, joint_arrays, train_fusion
from composite_flow_paper.shared.joint_samples import Draw, draw_joint_samples, judge_samples
from composite_flow_paper.shared.sensor_runs import SensorData, choose_steps
from composite_flow_paper.shared.teams import draw_teams, taking_part, team_posteriors

SAMPLERS: dict[str, tuple[Draw, int]] = {"conditional": (sample_conditional, 30), "blind": (sample_blind, 20)}
"""Samplers with their calls of the team denoiser for each sample."""


def compute_fusion(settings: Figure4Settings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train answers; how often the team's estimate, rounded, is the true state, of held-out steps and of all states."""
    key_data, key_train, key_choice, *_ = jax.random.split(jax.random.key(seed), 6)
    data = collected(settings, key_data)
    training = settings.ours.training
    model, costs = train_fusion(data.train, data.validation, training, key=key_train, progress=workspace.progress)
    answers, seen = _learned(model.answers), data.test.seen
    return {
        "seen": count_exact(answers, seen, choose_steps(seen, settings.num_histories, key_choice)),
        "unseen": None
        if data.test.unseen is None
        else count_exact(answers, data.test.unseen, choose_steps(data.test.unseen, settings.num_histories, key_choice)),
        **count_states(answers, data),
        "calls": data.problem.num_agents,
        **costs,
    }


def compute_samples(settings: Figure4Settings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train answers and team denoiser; hold samples of random teams against their exact posteriors."""
    key_data, key_train, key_choice, _, key_partial, _ = jax.random.split(jax.random.key(seed), 6)
    data = collected(settings, key_data)
    training = settings.ours.training
    model, costs = train_fusion(data.train, data.validation, training, key=key_train, progress=workspace.progress)
    assert model.fusion is not None and model.fusion.team_denoiser is not None
    steps = choose_steps(data.test.seen, settings.num_histories, key_choice)
    joint = data.test.joint(steps[: settings.num_sampled])
    found = {}
    for name, (draw, num_calls) in SAMPLERS.items():
        workspace.progress(f"samples by the {name} sampler")
        drawing = partial(draw, num_steps=num_calls)
        sizes = [
            sample_teams(settings, data, model.fusion.team_denoiser, joint, size, drawing, key=key_partial)
            for size in settings.num_participants
        ]
        found[name] = [{**one, "calls": num_calls} for one in sizes]
    return {**found, **costs}


def sample_teams(
    settings: Figure4Settings,
    data: SensorData,
    team: TeamDenoiser,
    joint: JointBatch,
    size: int,
    draw: Draw,
    *,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Samples of random teams of one size, the same teams that make the partial flows."""
    key_teams, key_samples = jax.random.split(jax.random.fold_in(key, size))
    num_agents = data.problem.num_agents
    teams = draw_teams(key_teams, settings.num_histories, num_agents, size)[: len(joint.states)]
    participants = taking_part(teams, num_agents)
    belief = exact_belief(data.problem, joint.structured)
    log_prior = jnp.log(data.problem.initial_probabilities())
    posteriors = team_posteriors(belief.log_probabilities, log_prior, participants)
    count = settings.num_joint_samples
    samples = draw_joint_samples(team, joint.histories, participants, count, draw, key=key_samples)
    scores = judge_samples(samples, belief.states, posteriors)
    return {
        "participants": size,
        "histories": len(posteriors),
        "samples": count,
        **scores.means(),
        "smallest_inside": float(scores.inside.min()),
    }


def count_exact(answers: Answers, dataset: HistoryDataset, steps) -> dict[str, int]:
    """At how many of these steps the estimate of the whole team is the true state."""
    histories, states = joint_arrays(answers, dataset, steps)
    exact = exact_states(fused_means(answers, histories), states)
    return {"exact": int(exact.sum()), "histories": len(exact)}


def count_states(answers: Answers, data: SensorData) -> dict[str, dict[str, int] | None]:
    """Of how many states, all of them and those withheld, the whole team's estimate is exact.

    A state has one joint history, since the sensors miss nothing.
    """
    histories, states = every_state(data.problem, data.train.layout)
    exact = np.asarray(exact_states(fused_means(answers, histories), states))
    withheld = data.test.withheld_states
    found: dict[str, dict[str, int] | None] = {"states": {"exact": int(exact.sum()), "states": len(exact)}}
    if withheld is None:
        return {**found, "withheld_states": None}
    never = (np.asarray(states)[:, None] == withheld[None]).all(axis=2).any(axis=1)
    return {**found, "withheld_states": {"exact": int(exact[never].sum()), "states": int(never.sum())}}


def _learned(answers: Answers | None) -> Answers:
    assert answers is not None, "the settings say so"
    return answers
