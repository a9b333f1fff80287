"""What of the adapter to SMACv2 needs neither the package nor the game; with both, one collection as well."""

import sys
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from composite_flow.cli.app import main
from composite_flow.data import collect
from composite_flow.errors import InputError
from composite_flow.problems import SMACv2, problem_from_description, problem_from_text, world_from_text
from composite_flow.problems.smacv2 import SCENARIOS, wrapper_arguments


def test_scenarios():
    """The fifteen of the package's documentation, with its distributions."""
    assert len(SCENARIOS) == 15
    given = wrapper_arguments("terran_10_vs_11")
    teams = given["capability_config"]
    assert given["map_name"] == "10gen_terran" and (teams["n_units"], teams["n_enemies"]) == (10, 11)
    assert dict(zip(teams["team_gen"]["unit_types"], teams["team_gen"]["weights"], strict=True)) == {
        "marine": 0.45,
        "marauder": 0.45,
        "medivac": 0.1,
    }
    assert teams["team_gen"]["exception_unit_types"] == ["medivac"]
    assert teams["start_positions"] == {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32}
    assert all(
        np.isclose(sum(wrapper_arguments(name)["capability_config"]["team_gen"]["weights"]), 1) for name in SCENARIOS
    )


def test_scenarios_that_do_not_exist():
    with pytest.raises(InputError, match="no SMACv2 scenario 'zerg_3_vs_3': there are protoss_5_vs_5, .*zerg_20_vs_23"):
        world_from_text("smacv2:zerg_3_vs_3")
    with pytest.raises(InputError, match="at least one step"):
        world_from_text("smacv2:zerg_5_vs_5,steps=0")
    with pytest.raises(InputError, match="unknown option 'sight': there are steps"):
        world_from_text("smacv2:zerg_5_vs_5,sight=6")


def test_a_missing_package_is_told_with_how_to_install_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "smacv2", None)
    assert main(["collect", "smacv2:zerg_5_vs_5", "--out", str(tmp_path / "a")]) == 1
    told = capsys.readouterr().err
    for part in ("pip install git+https://github.com/oxwhirl/smacv2.git", "StarCraft II", "SC2PATH", "32x32_flat"):
        assert part in told
    assert not list(tmp_path.iterdir())


def test_only_collecting_takes_it(capsys, tmp_path):
    for ask in (lambda: problem_from_text("smacv2:zerg_5_vs_5"), lambda: problem_from_description({"kind": "smacv2"})):
        with pytest.raises(InputError, match="no policy be trained in them"):
            ask()
    assert main(["train-policy", "smacv2:zerg_5_vs_5", "--out", str(tmp_path / "p")]) == 1
    assert "outside of JAX" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("smacv2") is None, reason="needs SMACv2 and StarCraft II")
def test_against_the_game():
    try:
        world = SMACv2("zerg_5_vs_5")
    except InputError as error:
        pytest.skip(str(error))
    try:
        episodes = collect(world, 3, key=jax.random.key(0))
    finally:
        world.close()
    assert (episodes.num_episodes, episodes.num_agents, episodes.num_actions) == (3, 5, 11)
    assert (episodes.observation_size, episodes.state_size) == (82, 120)
    assert np.take_along_axis(episodes.availability, episodes.actions[..., None], axis=2).all()
    assert episodes.state_names[:2] == ("ally_health_0", "ally_cooldown_0")
    assert episodes.description["scenario"] == "zerg_5_vs_5"
    fought = episodes.states[:, episodes.state_names.index("ally_health_0")]
    assert np.all((fought >= 0) & (fought <= 1))
