"""Vaults that Flashbax itself wrote, in OG-MARL's layouts, come in step by step, and each fault has its sentence."""

import json
import shutil
from pathlib import Path

import flashbax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flashbax.buffers.trajectory_buffer import TrajectoryBufferState
from flashbax.vault import Vault

from composite_flow.cli.app import main
from composite_flow.data import Episodes
from composite_flow.data.vault import episodes as scanning
from composite_flow.data.vault.importer import import_vault
from composite_flow.data.vault.store import METADATA_FILE, STORE_FILE
from composite_flow.errors import FileError, InputError

LENGTHS = (3, 1, 4, 2)
"""Of whole episodes; three more steps follow, whose episode the vault cuts off."""
STEPS, WHOLE = sum(LENGTHS) + 3, sum(LENGTHS)
DONE = np.isin(np.arange(STEPS), np.cumsum(LENGTHS) - 1)


def replay(num_agents: int = 3, seed: int = 0) -> dict:
    """One row of steps as OG-MARL writes them today: (batch, time, agents, …), flags and legal actions as floats."""
    random = np.random.default_rng(seed)
    shape = (1, STEPS, num_agents)
    reward = np.repeat(random.normal(size=(1, STEPS, 1)), num_agents, axis=2)
    return {
        "observations": random.normal(size=(*shape, 4)).astype(np.float32),
        "actions": random.integers(0, 5, shape).astype(np.int32),
        "rewards": reward.astype(np.float32),
        "terminals": np.repeat(DONE[None, :, None], num_agents, axis=2).astype(np.float32),
        "truncations": np.zeros(shape, np.float32),
        "infos": {
            "state": random.normal(size=(1, STEPS, 6)).astype(np.float32),
            "legals": random.integers(0, 2, (*shape, 5)).astype(np.float32),
        },
    }


def by_agent(tree: dict) -> dict:
    """The older layout: a folder for each part but the state, with an array for each agent."""
    split = {name: _by_agent(value) for name, value in tree.items() if name != "infos"}
    infos = tree["infos"]
    return {**split, "infos": {"state": infos["state"], "legals": _by_agent(infos["legals"])}}


def _by_agent(array: np.ndarray) -> dict:
    return {f"agent_{agent}": array[:, :, agent] for agent in range(array.shape[2])}


def write(folder: Path, tree: dict, uid: str = "Good", metadata: dict | None = None) -> Path:
    """Let Flashbax write a tree of (batch, time, …) as a vault; returns the folder of the vaults."""
    experience = jax.tree.map(jnp.asarray, tree)
    steps = jax.tree.leaves(tree)[0].shape[1]
    vault = Vault("zerg.vlt", experience, rel_dir=str(folder), vault_uid=uid, metadata=metadata)
    state = TrajectoryBufferState(experience=experience, current_index=jnp.array(0), is_full=jnp.array(True))
    assert vault.write(state, source_interval=(0, steps)) == steps
    return folder / "zerg.vlt"


def write_from_buffer(folder: Path, tree: dict) -> Path:
    """As OG-MARL records: step by step into a buffer, which goes into the vault in two parts."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        buffer = flashbax.make_trajectory_buffer(
            add_batch_size=1,
            sample_batch_size=1,
            sample_sequence_length=1,
            period=1,
            min_length_time_axis=1,
            max_length_time_axis=8,
        )
        state, add = buffer.init(jax.tree.map(lambda x: x[0, 0], tree)), jax.jit(buffer.add)
        vault = Vault("zerg.vlt", state.experience, rel_dir=str(folder), vault_uid="Replay")
        for step in range(STEPS):
            state = add(state, jax.tree.map(lambda x, step=step: x[:, step : step + 1], tree))
            if step in (6, STEPS - 1):
                vault.write(state)
    return folder / "zerg.vlt"


def changed(tree: dict, **parts) -> dict:
    """A tree with other parts; None takes one away, `infos_state` stands for the state in infos."""
    new = {**tree, "infos": dict(tree["infos"])}
    for name, value in parts.items():
        place, name = (new["infos"], name.removeprefix("infos_")) if name.startswith("infos_") else (new, name)
        place.pop(name, None)
        if value is not None:
            place[name] = value
    return new


def assert_holds(episodes: Episodes, tree: dict, row: int = 0, steps: slice | np.ndarray = slice(WHOLE)):
    """The steps of a stacked tree's row, and nothing else."""
    assert np.array_equal(episodes.observations, tree["observations"][row, steps])
    assert np.array_equal(episodes.actions, tree["actions"][row, steps])
    assert np.array_equal(episodes.states, tree["infos"]["state"][row, steps])
    assert np.array_equal(episodes.rewards, tree["rewards"][row, steps, 0])
    assert np.array_equal(episodes.availability, tree["infos"]["legals"][row, steps] == 1)
    assert tuple(episodes.stops - episodes.starts) == LENGTHS


@pytest.fixture(scope="module")
def vault(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("vaults"), replay(), metadata={"game": "StarCraft"})


# --- layouts


def test_agents_as_an_axis(vault, tmp_path):
    imported = import_vault(vault, tmp_path / "a")
    assert_holds(imported.episodes, replay())
    assert (imported.uid, imported.dropped_steps, imported.padding_steps) == ("Good", 3, 0)
    assert not imported.states_repeat
    states = replay()["infos"]["state"][0, :WHOLE]
    assert np.array_equal(imported.episodes.scaling.minimum, states.min(axis=0))
    assert np.array_equal(imported.episodes.scaling.maximum, states.max(axis=0))
    assert imported.episodes.description == {"kind": "vault", "vault": "zerg"}
    policy = {"kind": "vault", "uid": "Good", "format": 1.2, "metadata": {"game": "StarCraft"}}
    assert imported.episodes.policy == policy


def test_what_a_recorder_wrote(tmp_path):
    assert_holds(import_vault(write_from_buffer(tmp_path, replay()), tmp_path / "a").episodes, replay())


def test_arrays_by_agent_in_the_order_of_their_numbers(tmp_path):
    """Eleven agents: agent_10 comes after agent_9, though JAX sorts it behind agent_1."""
    tree = replay(num_agents=11)
    folders = {**by_agent(tree), "rewards": tree["rewards"], "terminals": tree["terminals"]}
    folders.pop("truncations")  # each array takes its time to write
    assert_holds(import_vault(write(tmp_path, folders), tmp_path / "a").episodes, tree)


def test_agents_of_fewer_features_are_filled_up(tmp_path):
    tree = by_agent(replay())
    tree["observations"]["agent_1"] = tree["observations"]["agent_1"][..., :2]
    tree["infos"]["legals"]["agent_2"] = tree["infos"]["legals"]["agent_2"][..., :3]
    tree["actions"]["agent_2"] = tree["actions"]["agent_2"] % 3
    episodes = import_vault(write(tmp_path, tree), tmp_path / "a").episodes
    given = replay()
    assert np.array_equal(episodes.observations[:, 1, :2], given["observations"][0, :WHOLE, 1, :2])
    assert not episodes.observations[:, 1, 2:].any() and not episodes.availability[:, 2, 3:].any()
    assert np.array_equal(episodes.observations[:, 2], given["observations"][0, :WHOLE, 2])


def test_only_what_is_needed(tmp_path):
    """One flag for all agents, truncations alone, images, neither rewards nor legal actions."""
    tree = replay()
    images = tree["observations"].reshape(1, STEPS, 3, 2, 2)
    least = changed(tree, observations=images, terminals=None, rewards=None, infos_legals=None, truncations=DONE[None])
    episodes = import_vault(write(tmp_path, least), tmp_path / "a").episodes
    assert np.array_equal(episodes.observations, tree["observations"][0, :WHOLE])
    assert episodes.availability.all() and episodes.num_actions == tree["actions"][0].max() + 1
    assert not episodes.rewards.any() and tuple(episodes.stops - episodes.starts) == LENGTHS


def test_an_episode_ends_when_all_agents_are_done(tmp_path):
    """The dead have terminated before; at the end the living are truncated."""
    tree = replay()
    terminals, truncations = tree["terminals"].copy(), tree["truncations"].copy()
    terminals[:, 1:3, 0] = terminals[:, 3, 0] = 1
    terminals[:, 2, 1:], truncations[:, 2, 1:] = 0, 1
    episodes = import_vault(
        write(tmp_path, changed(tree, terminals=terminals, truncations=truncations)), tmp_path / "a"
    ).episodes
    assert_holds(episodes, tree)


@pytest.mark.parametrize("masked", [True, False])
def test_padding_and_several_rows(tmp_path, masked):
    """Sequences filled up with −∞ after an episode, with a mask or without one; padding ends an episode as well."""
    tree = jax.tree.map(lambda *rows: np.concatenate(rows), replay(), replay(seed=1))
    padding = np.zeros((2, STEPS), bool)
    padding[0, 3:6] = True  # after the end of the first episode, over the second and two steps of the third
    padding[1, 6:8] = padding[1, -1] = True  # an episode without a flag ends at step 5, the last one at step 11
    tree = jax.tree.map(
        lambda x: np.where(
            padding.reshape(2, STEPS, *[1] * (x.ndim - 2)), -1 if x.dtype == np.int32 else -np.inf, x
        ).astype(x.dtype),
        tree,
    )
    where = {"mask": (~padding).astype(np.float32)}
    imported = import_vault(write(tmp_path, {**tree, **(where if masked else {})}), tmp_path / "a")
    kept = [(0, [6, 7]), (0, [8, 9]), (1, [0, 1, 2]), (1, [3]), (1, [4, 5]), (1, [8, 9]), (1, [10, 11])]
    kept = [(0, [0, 1, 2]), *kept]
    states = np.concatenate([tree["infos"]["state"][row, steps] for row, steps in kept])
    assert np.array_equal(imported.episodes.states, states) and np.isfinite(states).all()
    assert (imported.episodes.stops - imported.episodes.starts).tolist() == [len(steps) for _, steps in kept]
    assert (imported.padding_steps, imported.dropped_steps) == (6, 3)


def test_missing_features_are_filled_up(tmp_path):
    tree = replay()
    seen, legal = tree["observations"].copy(), tree["infos"]["legals"].copy()
    seen[0, 4, 1], legal[0, 4, 1, 3] = -np.inf, -np.inf
    episodes = import_vault(
        write(tmp_path, changed(tree, observations=seen, infos_legals=legal)), tmp_path / "a"
    ).episodes
    assert not episodes.observations[4, 1].any() and not episodes.availability[4, 1, 3]
    assert np.array_equal(episodes.observations[:4], seen[0, :4])


# --- piece by piece


def test_shards_and_blocks_change_nothing(vault, tmp_path, monkeypatch):
    whole = import_vault(vault, tmp_path / "a").episodes
    monkeypatch.setattr(scanning, "BLOCK_BYTES", 4 * 4 * 6)
    told = []
    step_bytes = 3 * (4 * 4 + 5 + 4) + 4 * 6 + 5
    pieces = import_vault(
        vault, tmp_path / "b", shard_bytes=4 * step_bytes, progress=lambda *n: told.append(n)
    ).episodes
    assert told == [(4, 10), (8, 10), (10, 10)] and len(list((tmp_path / "b").iterdir())) == 3
    for name in ("observations", "actions", "states", "rewards", "ends", "availability"):
        assert np.array_equal(getattr(whole, name), getattr(pieces, name)), name


def test_an_interrupted_import_goes_on(vault, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_vault(vault, tmp_path / "a", shard_bytes=1, progress=interrupt)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a.partial").iterdir()}
    assert_holds(import_vault(vault, tmp_path / "a", shard_bytes=1).episodes, replay())
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert len(kept) == 1 and len(now) == 4 and all(now[name] == kept[name] for name in kept)


def test_the_command(vault, tmp_path, capsys):
    assert main(["import", "vault", str(vault), "--out", str(tmp_path / "a"), "--uid", "Good", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["uid"], result["episodes"], result["steps"], result["steps_without_end_dropped"]) == (
        "Good",
        4,
        10,
        3,
    )
    assert main(["import", "vault", str(tmp_path), "--out", str(tmp_path / "b")]) == 1
    assert "is no vault" in capsys.readouterr().err


def test_states_that_a_recorder_repeated_are_told(tmp_path, capsys):
    tree = replay()
    first = np.repeat(np.concatenate([[0], np.cumsum(LENGTHS)]), [*LENGTHS, 3])
    stale = changed(tree, infos_state=tree["infos"]["state"][:, first])
    assert main(["import", "vault", str(write(tmp_path, stale)), "--out", str(tmp_path / "a")]) == 0
    assert "never changes within an episode" in capsys.readouterr().err


# --- faults


def test_several_vaults(tmp_path, vault):
    both = shutil.copytree(vault, tmp_path / "zerg.vlt")
    shutil.copytree(both / "Good", both / "Poor")
    with pytest.raises(InputError, match="several vaults, Good, Poor; choose one with --uid"):
        import_vault(both, tmp_path / "a")
    with pytest.raises(InputError, match="no vault 'Replay': there are Good, Poor"):
        import_vault(both, tmp_path / "a", uid="Replay")
    assert import_vault(both, tmp_path / "a", uid="Poor").uid == "Poor"
    assert import_vault(both / "Good", tmp_path / "b").uid == "Good"
    with pytest.raises(InputError, match="is the vault 'Good' itself"):
        import_vault(both / "Good", tmp_path / "c", uid="Poor")


def test_no_vault(tmp_path, vault):
    Vault("empty.vlt", jax.tree.map(jnp.asarray, replay()), rel_dir=str(tmp_path), vault_uid="Good")
    with pytest.raises(FileError, match="no whole episode in 1 × 0 steps"):
        import_vault(tmp_path / "empty.vlt", tmp_path / "a")
    shutil.rmtree(tmp_path / "empty.vlt")
    (tmp_path / "zerg.zip").write_bytes(b"PK")
    for path, fault in (("zerg.zip", "unpack it first"), ("nothing", "does not exist"), (".", "is no vault")):
        with pytest.raises(FileError, match=fault):
            import_vault(tmp_path / path, tmp_path / "a")


def test_damaged_vaults(tmp_path, vault):
    broken = shutil.copytree(vault, tmp_path / "zerg.vlt") / "Good"
    metadata = json.loads((broken / METADATA_FILE).read_text())
    for other, fault in (
        ("{", "damaged or foreign"),
        (json.dumps({**metadata, "version": 2.0}), "version 2.0 of the format"),
        (json.dumps({**metadata, "structure_shape": "(1, 2)"}), "one array instead of named parts"),
        (json.dumps({**metadata, "structure_shape": {}}), "tells of no parts"),
        (json.dumps({**metadata, "structure_shape": {"actions": "many"}}), "actions has the shape 'many'"),
    ):
        (broken / METADATA_FILE).write_text(other)
        with pytest.raises(FileError, match=fault):
            import_vault(broken, tmp_path / "a")
    (broken / METADATA_FILE).write_text(json.dumps(metadata))
    for path in (broken / "d").iterdir():
        path.unlink()
    with pytest.raises(FileError, match="the part .* cannot be read; damaged, or out of reach"):
        import_vault(broken, tmp_path / "a")
    (broken / STORE_FILE).unlink()
    with pytest.raises(FileError, match=f"lacks {STORE_FILE}"):
        import_vault(broken, tmp_path / "a")


def test_missing_and_renamed_parts(tmp_path):
    tree = replay()
    held = "actions, infos.legals, infos.states, observations, rewards, terminals, truncations"
    for number, (other, fault) in enumerate(
        (
            (changed(tree, infos_state=None, infos_states=tree["infos"]["state"]), f"infos.state, .*; it holds {held}"),
            (changed(tree, terminals=None, truncations=None, dones=tree["terminals"]), "lacks the part terminals"),
            (changed(by_agent(tree), observations=None), r"lacks the part observations.*actions.agent_\*, infos"),
        )
    ):
        with pytest.raises(FileError, match=fault):
            import_vault(write(tmp_path, other, uid=str(number)), tmp_path / "a", uid=str(number))


def test_parts_that_cannot_be_used(tmp_path):
    tree, nan = replay(), np.full((1, STEPS, 6), np.nan, np.float32)
    seen, state = tree["observations"].copy(), tree["infos"]["state"].copy()
    seen[0, 5, 1, 2], state[0, 7, 3] = np.inf, -np.inf
    per_agent = np.repeat(tree["infos"]["state"][:, :, None], 3, axis=2)
    few = {name: array for name, array in by_agent(tree)["rewards"].items() if name != "agent_1"}
    for number, (parts, fault) in enumerate(
        (
            ({"observations": seen}, "observations must be finite numbers, but those of step 5 in row 0"),
            ({"infos_state": state}, "infos.state must be finite numbers, but those of step 7"),
            ({"infos_state": nan}, "infos.state must be finite numbers, but those of step 0"),
            ({"infos_state": per_agent}, r"one state for all agents, but a step is of shape \(3, 6\)"),
            ({"actions": tree["actions"] + 3}, "actions must be whole numbers from 0 to 4"),
            (
                {"actions": tree["actions"].astype(np.float32) + np.float32(0.5)},
                "actions must be whole numbers from 0 to 4",
            ),
            ({"actions": tree["observations"]}, r"actions are of shape \(3, 4\) a step"),
            ({"infos_legals": tree["infos"]["legals"] * 2}, "infos.legals must be zeros and ones"),
            ({"terminals": tree["terminals"] * 2}, "terminals must hold zeros and ones"),
            ({"terminals": tree["terminals"] * 0}, "holds no whole episode in 1 × 13 steps: terminals and truncations"),
            ({"rewards": few}, "rewards and observations are of different agents"),
        )
    ):
        path = write(tmp_path, changed(tree, **parts), uid=str(number))
        with pytest.raises(FileError, match=fault):
            import_vault(path, tmp_path / "a", uid=str(number))
