"""Table 1's battles in SMAX, each with a policy trained in it, episodes by that policy, and a division for each seed.

Policies stand in `policies/<battle>`, episodes in `data/<battle>`, made once and for all seeds; each seed divides the
episodes anew. A sample is a time step of the team: one state, and a history of every agent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.collect import collect_to
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.data.run_split import fingerprint
from composite_flow.errors import InputError, MismatchError
from composite_flow.files.plain_json import describe_differences, jsonable
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.curves import recent
from composite_flow.policy.run import train_policy
from composite_flow.policy.saving import POLICY_FILE, check_trained_in, load_policy
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems.same_description import check_same_description
from composite_flow.problems.smax import SMAX, unseen_share
from composite_flow.training.loss import sample_pairs
from composite_flow.training.stages import HistoryRange
from composite_flow_paper.shared.cells import Preparation, Progress

_ADVICE = "remove it, or choose another --out"
_PROBE = 4096  # pairs whose range scales the histories, as many as in `fit`


@dataclass(frozen=True)
class Battle:
    """The race of both teams, and how far allies see."""

    race: str
    sight: float

    @property
    def name(self) -> str:
        """Of its folder of policies and its folder of data."""
        return f"{self.race}-sight{self.sight:g}"


@dataclass(frozen=True)
class EpisodeSettings:
    """What the battles' episodes depend on.

    Attributes:
        teams: of the scenario's name, after the race.
        num_steps: most steps of an episode.
        policy: how the policy is trained, where no trained one is there.
        pool: time steps that training samples are drawn from, at least.
        held_out: time steps of the test episodes, at least; as many of validation episodes.
    """

    teams: str = "5_vs_5"
    num_steps: int = 100
    policy: MappoConfig = field(default_factory=lambda: MappoConfig(steps=20_000_000, memory="none"))
    pool: int = 100_000
    held_out: int = 10_000

    def problem(self, battle: Battle) -> SMAX:
        """The world that a battle is fought in."""
        return SMAX(f"{battle.race}_{self.teams}", sight=float(battle.sight), num_steps=self.num_steps)

    @property
    def needed(self) -> int:
        """Time steps to collect: whatever episodes the held-out parts get, the pool remains."""
        return self.pool + 2 * (self.held_out + self.num_steps)


@dataclass(frozen=True, eq=False)
class BattleEpisodes:
    """A battle's episodes, and what is told of them beside every number.

    Attributes:
        problem: the world that the battle is fought in.
        episodes: by the trained policy, drawing its actions.
        facts: share of steps in which some living enemy is unseen by all, mean length of the episodes, share of battles
            won, steps that the policy was trained for.
    """

    problem: SMAX
    episodes: Episodes
    facts: dict[str, Any]


def differences_of_worlds(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """In what two cells' facts of their episodes differ, in words; empty where they are of one collection.

    Errors of steps can be paired within one collection alone. Cells of before fingerprints were kept are told apart by
    their other facts.
    """
    compared = [name for name in {**one, **other} if name != "fingerprint" or (name in one and name in other)]
    return describe_differences(*({name: facts.get(name) for name in compared} for facts in (one, other)))


def preparation(settings: EpisodeSettings, battle: Battle) -> Preparation:
    """A policy and its episodes, which all cells of the battle need."""
    return Preparation(f"data/{battle.name}", partial(prepare, settings, battle))


def prepare(settings: EpisodeSettings, battle: Battle, out: Path, progress: Progress) -> None:
    """Train a battle's policy and collect its episodes, for whoever reads them later."""
    battle_episodes(settings, battle, out, progress)


def battle_episodes(settings: EpisodeSettings, battle: Battle, out: Path, progress: Progress) -> BattleEpisodes:
    """The battle's episodes: read, or collected by its policy, which is read or trained.

    Args:
        settings: of all battles.
        battle: which one.
        out: folder of `policies/` and `data/`.
        progress: told what is going on.

    Raises:
        MismatchError: policy or episodes there are of another problem.
    """
    problem, folder = settings.problem(battle), out / "data" / battle.name
    key_policy, key_collect = jax.random.split(jax.random.key(0))
    policy, trained = policy_of(settings, problem, battle, out / "policies" / battle.name, key_policy, progress)
    if folder.exists():
        episodes = Episodes.load(folder)
    else:
        episodes = collect_to(
            folder, problem, key=key_collect, num_samples=settings.needed, policy=policy,
            progress=lambda done, total: progress(f"episodes: {done:,} of {total:,} time steps"),
        )  # fmt: skip
    check_same_description(
        episodes.description, jsonable(problem.description), f"{folder} holds episodes of another problem", _ADVICE
    )
    if episodes.policy != policy.description:
        raise MismatchError(f"{folder} holds episodes of another policy than that in {out / 'policies'}; {_ADVICE}.")
    facts = {
        "fingerprint": fingerprint(episodes),
        "unseen_share": float(unseen_share(problem, episodes.states[:])),
        "steps_per_episode": episodes.num_steps / episodes.num_episodes,
        "win_rate": win_rate(problem, episodes),
        **trained,
    }
    return BattleEpisodes(problem, episodes, facts)


def policy_of(
    settings: EpisodeSettings, problem: SMAX, battle: Battle, folder: Path, key: PRNGKeyArray, progress: Progress
) -> tuple[TrainedPolicy, dict[str, Any]]:
    """The battle's policy and how it was trained; a finished one is taken as it is."""
    if not (folder / POLICY_FILE).exists():

        def tell(steps, total, rows):
            progress(f"policy: step {steps:,} of {total:,}, win rate {recent(rows, 'win_rate')}")

        train_policy(problem, settings.policy, key=key, folder=folder, resume=True, progress=tell)
    check_trained_in(folder, problem)
    policy = load_policy(folder)
    return policy, {"policy_steps": policy.steps}


def win_rate(problem: SMAX, episodes: Episodes) -> float:
    """Share of the episodes in whose last state every enemy is dead."""
    last = episodes.states[np.flatnonzero(episodes.ends)]
    living = [place for place, name in enumerate(problem.state_names) if name.startswith("enemy") and "alive" in name]
    return float(np.mean(~np.any(last[:, living] > 0, axis=1)))


@dataclass(frozen=True, eq=False)
class Division:
    """Training samples and held-out episodes of one seed.

    Attributes:
        pool: all steps that samples are drawn from.
        train: the samples.
        validation, test: held-out episodes.
    """

    pool: HistoryDataset
    train: HistoryDataset
    validation: HistoryDataset
    test: HistoryDataset

    @property
    def history_range(self) -> HistoryRange:
        """Of each history column over the pool: with few samples a column's own range would say little of others."""
        return range_of(sample_pairs(self.pool, jax.random.key(0), _PROBE)[0])

    def test_steps(self, count: int, seed: int) -> Int[Array, " steps"]:
        """So many test steps, the same for every length of histories and every number of training samples."""
        return _drawn(self.test, count, jax.random.key(seed))

    def few(self, count: int) -> HistoryDataset:
        """The first so many training samples, whose order is random."""
        return eqx.tree_at(lambda data: data.listed_steps, self.train, self.train.steps[:count])

    def train_steps(self, count: int, seed: int) -> Int[Array, " steps"]:
        """So many training steps, each at most once where there are as many."""
        return _drawn(self.train, count, jax.random.key(seed))


def divide(episodes: Episodes, settings: EpisodeSettings, samples: int, length: int, seed: int) -> Division:
    """Test and validation episodes, and training samples drawn from all other episodes.

    Fewer samples are among the more: they stand first in one random order. Histories may reach back to steps that are
    no samples themselves.

    Args:
        episodes: of one battle.
        settings: how much is held out.
        samples: time steps to learn from.
        length: H.
        seed: of the division.

    Raises:
        InputError: there are fewer time steps than samples are asked for.
    """
    key_episodes, key_steps = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))
    dataset = HistoryDataset(episodes, length)
    order = np.asarray(jax.random.permutation(key_episodes, episodes.num_episodes))
    reached = np.cumsum(np.bincount(np.asarray(episodes.episode_of_step))[order])
    first, second = np.searchsorted(reached, (settings.held_out, 2 * settings.held_out)) + 1
    rest = dataset.part(np.sort(order[second:]))
    if samples > rest.num_steps:
        raise InputError(
            f"There are {rest.num_steps} time steps to train on, not {samples}; raise `pool`, or ask for fewer."
        )
    chosen = jax.random.permutation(key_steps, rest.steps)[:samples]
    train = eqx.tree_at(lambda data: data.listed_steps, rest, chosen)
    return Division(rest, train, dataset.part(np.sort(order[first:second])), dataset.part(np.sort(order[:first])))


def range_of(histories: Float[Array, "pairs history"]) -> HistoryRange:
    """Smallest and largest value of each column."""
    return histories.min(axis=0), histories.max(axis=0)


def _drawn(part: HistoryDataset, count: int, key: PRNGKeyArray) -> Int[Array, " steps"]:
    """Steps of a part in rising order, so that those of one episode stand together."""
    return jnp.sort(jax.random.choice(key, part.steps, (count,), replace=part.num_steps < count))
