"""A finished model goes on: on new episodes, for agents that are new, and with its radius and intervals anew."""

import json

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import InputError, MismatchError
from composite_flow.training.starting import starting_networks

SETTINGS = cf.TrainingConfig(width=8, depth=1, steps=30, batch=32, warmup=1, learn="both", team_denoiser=False)


def episodes(names=("a", "b"), seed=0, noise=0.1, **changes) -> cf.Episodes:
    """Agents see the state with noise."""
    random = np.random.default_rng(seed)
    states = random.random((160, 1))
    seen = states[:, None] + noise * random.normal(size=(160, len(names), 1))
    given = {"observations": seen, "actions": None, "states": states, "ends": np.arange(160) % 4 == 3}
    return cf.Episodes.from_arrays(**(given | {"agent_names": list(names)} | changes))


def parts(data: cf.Episodes):
    return cf.HistoryDataset(data).split(key=jax.random.key(0))


@pytest.fixture(scope="module")
def model():
    train, validation, _ = parts(episodes())
    return cf.fit(train, validation, SETTINGS, key=jax.random.key(1), progress=False)


def test_training_begins_with_the_weights_of_the_model(model):
    train, validation, _ = (part.with_scaling(model.scaling) for part in parts(episodes(seed=1)))
    still = cf.TrainingConfig(**{**vars(SETTINGS), "learning_rate": 1e-12, "steps": 1})
    found = cf.fit(train, validation, still, key=jax.random.key(2), progress=False, start_from=model)
    for ours, theirs in zip(jax.tree.leaves(model.denoiser), jax.tree.leaves(found.denoiser), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(model.answers), jax.tree.leaves(found.answers), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_new_agents_begin_as_the_mean_of_the_others_and_old_ones_are_as_they_were(model):
    test = cf.HistoryDataset(episodes(("0", "a", "b")))
    networks = starting_networks(model, test.layout, 1)
    wide, narrow = test.joint(np.arange(5)).histories, cf.HistoryDataset(episodes()).joint(np.arange(5)).histories
    own = narrow.shape[-1] - 2
    old = np.concatenate([wide[:, 1:, :own], narrow[:, :, own:]], axis=-1)  # the same histories for two agents
    condition = jax.vmap(jax.vmap(networks["denoiser"].condition))
    np.testing.assert_allclose(condition(wide)[:, 1:], jax.vmap(jax.vmap(model.denoiser.condition))(old), atol=1e-6)
    assert networks["denoiser"].history_size == test.layout.size
    identity = networks["denoiser"].history_weights[own:]
    np.testing.assert_allclose(identity[0], identity[1:].mean(axis=0), atol=1e-6)
    answers = jax.vmap(networks["answers"].answer_each)(wide).evidence[:, 1:]
    np.testing.assert_allclose(answers, jax.vmap(model.answers.answer_each)(old).evidence, atol=1e-5)


def test_what_cannot_be_gone_on_from_is_refused(model):
    for data, sentence in (
        (episodes(("a", "c")), "has the agent 'b', the data have not"),
        (episodes(states=np.random.default_rng(0).random((160, 2))), "is of 1 state features, not 2"),
        (episodes(actions=np.zeros((160, 2), int)), "has num_actions = 0, the data 1"),
    ):
        with pytest.raises(MismatchError, match=sentence):
            starting_networks(model, cf.HistoryDataset(data).layout, data.state_size)
    with pytest.raises(InputError, match="cannot be added to a object"):
        from composite_flow.training.starting import _for_agents

        _for_agents(object(), np.array([0, -1]))


@pytest.mark.slow
def test_on_the_command_line(tmp_path, capsys):
    """Trained, gone on with a third agent, and calibrated where the noise is larger: the radius grows with it."""
    for name, data in (
        ("old", episodes()),
        ("new", episodes(("a", "b", "c"), 1)),
        ("noisy", episodes(seed=2, noise=0.5)),
    ):
        data.save(tmp_path / name)
    small = ["--width", "8", "--depth", "1", "--batch", "32", "--steps", "30"]
    run, data = str(tmp_path / "run"), str(tmp_path / "old")
    assert cli.main(["train", data, "--out", run, *small]) == 0
    more = [
        "train",
        str(tmp_path / "new"),
        "--out",
        str(tmp_path / "more"),
        "--from",
        run,
        "--steps",
        "5",
        "--batch",
        "32",
    ]
    assert cli.main(more) == 0
    found = cf.load(tmp_path / "more")
    assert found.layout.agent_names == ("a", "b", "c") and np.array_equal(
        found.scaling.minimum, cf.load(run).scaling.minimum
    )
    capsys.readouterr()
    assert cli.main(["calibrate", run, str(tmp_path / "noisy"), "--out", str(tmp_path / "calibrated"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["radius"] > told["radius_before"] and cf.load(tmp_path / "calibrated").radius == told["radius"]
    assert cli.main(["calibrate", run, data, "--out", str(tmp_path / "again")]) == 1
    assert "episodes that it did not see" in capsys.readouterr().err
