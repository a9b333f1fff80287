"""Import of vaults: OG-MARL's data sets as `Episodes`.

A vault holds steps, one episode after another: the state, what each agent saw of it, the action that it took then, and
the reward. A first pass finds the episodes (`episodes`). A second pass reads the steps of one shard at a time, so that
memory does not grow with the vault. The state to which an episode's last action leads is not in a vault.

**Incomplete episodes are dropped.** OG-MARL's converted data sets stop at the end of an episode, but its recorders
write their buffer after a fixed number of steps, which can cut an episode off. The end of such an episode means
nothing. If one episode fills the whole vault, its ends were not written.

**Padding.** Padding steps are dropped, whatever they hold. A feature of an observation that is −∞ is missing and
becomes 0, because OG-MARL pads observations of different sizes in this way. An action whose legality is −∞ does not
exist for that agent. Any other value that is not finite is refused.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from composite_flow.data.description import shard_description
from composite_flow.data.episodes import ARRAYS, Episodes
from composite_flow.data.folder import FolderWriter
from composite_flow.data.own_arrays import default_state_names
from composite_flow.data.progress import CountProgress
from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import SHARD_BYTES
from composite_flow.data.vault.episodes import VaultEpisodes, VaultParts, find_episodes, find_parts
from composite_flow.data.vault.store import STORE_FILE, Vault, VaultPart, open_vault
from composite_flow.errors import FileError


@dataclass(frozen=True, eq=False)
class Imported:
    """The result of `import_vault`.

    Attributes:
        episodes: the episodes, opened by `Episodes.load`.
        uid: the identifier of the vault that was read.
        dropped_steps: number of steps of episodes that the vault cuts off.
        padding_steps: number of steps that are padding.
        states_repeat: whether every state equals the one before it in its episode. OG-MARL's `ExperienceRecorder`
            writes an episode's first state and legal actions at all of its steps, and the true ones are lost.
    """

    episodes: Episodes
    uid: str
    dropped_steps: int
    padding_steps: int
    states_repeat: bool


def import_vault(
    path: str | Path,
    folder: str | Path,
    *,
    uid: str | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: CountProgress | None = None,
) -> Imported:
    """Convert a vault of OG-MARL into a folder of episodes.

    The team's reward is the mean of the agents' rewards, which are all equal in StarCraft. After an interruption the
    same call continues.

    Args:
        path: the vault's folder, or a folder of several vaults, such as `zerg_5_vs_5.vlt`.
        folder: a folder that is new or empty, or that holds episodes that may be overwritten.
        uid: which of several vaults; it can be left out where there is only one.
        overwrite: replace the episodes there, once the new ones are complete.
        shard_bytes: size of a shard before compression.
        progress: called now and then with the number of steps that are done and of all steps.

    Returns:
        The episodes, with states in the vault's own units; states that do not lie in [0, 1] are scaled by their minimum
        and maximum.

    Raises:
        FileError: there is no vault, a part is missing or cannot be used, or the folder is in the way.
        InputError: there are several vaults, or tensorstore is missing.
    """
    vault = open_vault(Path(path), uid)
    parts = find_parts(vault)
    found = find_episodes(vault, parts)
    features = parts.num_agents * (4 * parts.observation_size + found.num_actions + 4) + 4 * parts.state_size
    shards = found.shards(max(1, shard_bytes // (features + 5)))
    with FolderWriter(Path(folder), _collection(vault, shards), ARRAYS, overwrite) as writer:
        done = np.cumsum(found.lengths)
        for number, shard in enumerate(shards):
            if number not in writer.finished:
                arrays = _read_shard(vault, parts, found, shard)
                writer.write(number, len(shards), arrays, _description(vault, arrays["states"]))
            if progress is not None:
                progress(int(done[shard.stop - 1]), int(done[-1]))
        writer.finish()
    return Imported(Episodes.load(folder), vault.uid, found.dropped_steps, found.padding_steps, found.states_repeat)


def _collection(vault: Vault, shards: Sequence[slice]) -> str:
    """A digest of the vault as it is now; it shows whether shards belong to the same collection."""
    digest = hashlib.sha256(json.dumps([str(vault.path), vault.num_steps, [s.stop for s in shards]]).encode())
    digest.update((vault.path / STORE_FILE).read_bytes())
    return digest.hexdigest()


def _description(vault: Vault, states: Float[np.ndarray, "steps state"]) -> dict[str, Any]:
    """The description in a shard; vaults of one name belong to one problem, whatever their uid."""
    names = default_state_names(states.shape[1])
    scaling = Scaling(jnp.asarray(states.min(axis=0)), jnp.asarray(states.max(axis=0)))
    problem = {"kind": "vault", "vault": vault.name}
    policy = {"kind": "vault", "uid": vault.uid, "format": vault.version, "metadata": vault.metadata}
    return shard_description(names, scaling, problem, policy, measured=True)


def _read_shard(vault: Vault, parts: VaultParts, found: VaultEpisodes, shard: slice) -> dict[str, np.ndarray]:
    """Flat arrays of a shard's episodes."""
    stretches = [_Stretch(vault, parts, found.num_actions, *stretch).arrays() for stretch in found.stretches(shard)]
    arrays = {name: np.concatenate([stretch[name] for stretch in stretches]) for name in stretches[0]}
    ends = np.zeros(len(arrays["states"]), bool)
    ends[np.cumsum(found.lengths[shard]) - 1] = True
    return {**arrays, "ends": ends}


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Consecutive steps of a row of a vault, without padding."""

    vault: Vault
    parts: VaultParts
    num_actions: int
    row: int
    first: int
    stop: int

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of these steps, without the ends of episodes."""
        seen, states = self.read(self.parts.observations), self.read(self.parts.states)
        seen = seen.reshape(len(seen), self.parts.num_agents, -1)
        return {
            "observations": self.floats("observations", np.where(seen == -np.inf, 0, seen)),
            "actions": self.actions(),
            "states": self.floats("infos.state", states),
            "rewards": self.floats("rewards", self.rewards()),
            "availability": self.availability(),
        }

    def read(self, part: VaultPart) -> np.ndarray:
        """Read these steps of a part."""
        return part.read(self.row, self.first, self.stop)

    def actions(self) -> np.ndarray:
        """The action of each agent."""
        taken, wanted = self.read(self.parts.actions), f"whole numbers from 0 to {self.num_actions - 1}"
        return self.checked("actions", taken, np.isin(taken, np.arange(self.num_actions)), wanted).astype(np.int32)

    def rewards(self) -> np.ndarray:
        """The mean reward of the agents; in float64 the mean of equal rewards is exactly that reward."""
        if self.parts.rewards is None:
            return np.zeros(self.stop - self.first)
        return self.read(self.parts.rewards).reshape(self.stop - self.first, -1).astype(np.float64).mean(axis=1)

    def availability(self) -> np.ndarray:
        """Which actions each agent may take; all actions where the vault does not say it."""
        if self.parts.availability is None:
            return np.ones((self.stop - self.first, self.parts.num_agents, self.num_actions), bool)
        legal = self.read(self.parts.availability)
        return self.checked("infos.legals", legal == 1, np.isin(legal, (0, 1, -np.inf)), "zeros and ones")

    def floats(self, name: str, values: np.ndarray) -> np.ndarray:
        """The values as float32, once they are known to be finite."""
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(values, np.float32)
        return self.checked(name, values, np.isfinite(values), "finite numbers")

    def checked(self, name: str, values: np.ndarray, fine: np.ndarray, wanted: str) -> np.ndarray:
        """Return the values if all are `fine`; otherwise raise an error about the first step where some are not."""
        if not fine.all():
            step = self.first + int(np.argwhere(~fine)[0][0])
            raise FileError(
                f"{self.vault.path}: {name} must be {wanted}, but those of step {step} in row {self.row} are not."
            )
        return values
