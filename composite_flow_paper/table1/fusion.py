"""Fusion at Table 1's default, beside the paper's ways: whole teams, parts of them, lost and coarse answers, intervals.

The network has a width of its own, 128 units a layer, and learns from the same samples for as many steps.
Intervals are measured on the validation episodes, for numbers of living units, and judged on the test episodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.baselines.training import num_parameters
from composite_flow.data.dataset import JointBatch
from composite_flow.fusion.answers import Answer, Prior, team_sums
from composite_flow.fusion.compression import quantised
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.intervals import measure_quantiles
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.posterior import posterior
from composite_flow.model import Model
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Workspace, told_steps
from composite_flow_paper.table1.battles import Division
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided, judged

RATE = 2.0  # times the denoiser's rate
LOST = (0.1, 0.3, 0.5)  # shares of answers that do not arrive
BITS = 8
LEVELS = (0.8, 0.9, 0.95)
_MEASURED_STEPS = 4096  # of the validation episodes


def fusion_training(settings: Table1Settings) -> TrainingConfig:
    """As the denoiser's, but for what is learned, the width and the rate.

    The rate is the best of 1e-3, 2e-3 and 4e-3 on validation episodes of a division that is not reported.
    """
    rate = RATE * settings.training.learning_rate
    return replace(
        settings.training, learn="fusion", team_denoiser=False, width=settings.fusion_width, learning_rate=rate
    )


def compute_fusion(settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train answers and judge them; arguments as in `cell.compute`."""
    key_judge = jax.random.split(jax.random.key(seed))[1]
    played, division = divided(settings.worlds, setting, seed, workspace)
    model = fitted(fusion_training(settings), division, seed, workspace)
    workspace.progress("fusion")
    answers = answers_of(model)
    return {
        "world": played.facts,
        "parameters": parameters_of_fusion(settings, setting, division),
        "train_seconds": model.curves[-1]["seconds"],
        "curves": model.curves,
        **judged(settings, division, seed, fusing(answers, key_judge), None),
        "coverage": coverage(
            answers,
            _measured(division),
            division.test.joint(division.test_steps(settings.num_histories, seed)),
            played.episodes.state_names,
            key_judge,
        ),
    }


def _measured(division: Division) -> JointBatch:
    """Validation steps on which quantiles are measured."""
    validation = division.validation
    return validation.joint(validation.steps[:: max(1, validation.num_steps // _MEASURED_STEPS)])


def fitted(config: TrainingConfig, division: Division, seed: int, workspace: Workspace) -> Model:
    """What `fit` makes of a division; an interrupted training goes on from the scratch folder."""
    return fit(
        division.train,
        division.validation,
        config,
        key=jax.random.split(jax.random.key(seed))[0],
        folder=workspace.scratch,
        resume=True,
        history_range=division.history_range,
        progress=told_steps(workspace.progress),
    )


def answers_of(model: Model) -> AnswerNetwork:
    """The answers, which are not sparse: the states of battles are small."""
    if not isinstance(answers := model.answers, AnswerNetwork):
        raise AssertionError("the states of battles are small")
    return answers


def parameters_of_fusion(settings: Table1Settings, setting: Setting, division: Division) -> int:
    """How many weights fusion trains."""
    size, columns, agents = division.train.state_size, division.train.layout.size, division.train.num_agents
    prior = Prior(jnp.zeros(size), jnp.ones(size), FeatureTypes((), (), size))
    limits = jnp.zeros(columns), jnp.ones(columns)

    def build(key):
        usual = jnp.zeros((agents, columns))
        return AnswerNetwork(usual, limits, prior, settings.fusion_width, settings.training.depth, key=key)

    return weights_of(eqx.filter_eval_shape(build, jax.random.key(0)))


def weights_of(answers: AnswerNetwork) -> int:
    """How many weights are trained; what is stored of the data is not counted."""
    stored = answers.mean_histories, answers.history_minimum, answers.history_maximum, answers.prior
    return num_parameters(answers) - num_parameters(stored)


def fusing(answers: AnswerNetwork, key: PRNGKeyArray):
    """What teams say: all agents, some of them drawn for each step, those whose answers arrive, answers in 8 bits."""

    def estimate(joint: JointBatch) -> Mapping[str, Float[Array, "steps 1 state"]]:
        said = _said(answers, joint.histories)
        num_steps, num_agents = joint.histories.shape[:2]
        places = places_in_line(key, num_steps, num_agents)
        arrives = jax.random.uniform(key, (num_steps, num_agents))
        teams = {"fused": places >= 0}
        teams |= {f"fused_{size}_of_{num_agents}": places < size for size in range(1, num_agents)}
        teams |= {f"lost_{share:.0%}": arrives >= share for share in LOST}
        found = {name: _means(answers, said, team) for name, team in teams.items()}
        found["coarse"] = _means(answers, jax.vmap(lambda each: quantised(each, BITS))(said), places >= 0)
        found["constant"] = jnp.broadcast_to(answers.prior.mean, found["fused"].shape)
        return {name: means[:, None] for name, means in found.items()}

    return estimate


def coverage(
    answers: AnswerNetwork, measured: JointBatch, test: JointBatch, names: Sequence[str], key: PRNGKeyArray
) -> dict[str, dict[str, float]]:
    """Share of the numbers of living units at test steps that lie within intervals, by size of team and level.

    Args:
        answers: whose intervals they are.
        measured: held-out steps from which the quantiles are taken.
        test: steps of other episodes.
        names: of the state's features.
        key: draws the teams.
    """
    counted = living(names, measured.states)
    quantiles = measure_quantiles(answers, measured.histories, measured.states, key=key, counted=counted)
    if quantiles is None:
        raise AssertionError("battles have numbers")
    numbers = np.asarray(living(names, test.states)) & answers.prior.types.is_number
    places = places_in_line(jax.random.fold_in(key, 1), *test.histories.shape[:2])
    found: dict[str, dict[str, float]] = {}
    for size in range(1, test.histories.shape[1] + 1):
        estimate = fuse_each(answers, test.histories, places < size)
        ratios = np.asarray(jnp.abs(test.states - estimate.mean) / jnp.sqrt(estimate.variance))[numbers]
        reach = {level: float(quantiles.at(level, jnp.array(size))) for level in LEVELS}
        found[str(size)] = {f"{level:g}": float(np.mean(ratios <= reach[level])) for level in LEVELS}
    return found


def living(names: Sequence[str], states: Float[Array, "steps state"]) -> Bool[Array, "steps state"]:
    """Which features are of units that live."""
    alive = np.array([list(names).index(f"{name.rsplit('_', 1)[0]}_alive") for name in names])
    return states[:, alive] > 0.5


def places_in_line(key: PRNGKeyArray, num_steps: int, num_agents: int) -> Float[Array, "steps agents"]:
    """The place of each agent in a random order, at each step."""
    return jax.vmap(lambda one: jax.random.permutation(one, num_agents))(jax.random.split(key, num_steps))


@eqx.filter_jit
def _said(answers: AnswerNetwork, histories: Float[Array, "steps agents history"]) -> Answer:
    return jax.vmap(answers.answer_each)(histories)


@eqx.filter_jit
def _means(answers: AnswerNetwork, said: Answer, teams: Bool[Array, "steps agents"]) -> Float[Array, "steps state"]:
    def of_step(each, team):
        return posterior(answers.prior, jax.tree.map(lambda part: part[0], team_sums(each, team[None])))[0]

    return jax.vmap(of_step)(said, teams)
