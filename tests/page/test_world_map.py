"""A map where the world has one: sensor networks, and positions by the names of features."""

import numpy as np

import composite_flow as cf
from composite_flow.page.world_map import map_of


def test_a_sensor_network_tells_where_its_areas_are_and_who_watches_them():
    problem = cf.SensorNetwork.grid(2, 3, num_targets=1)
    found = map_of(problem.description, problem.state_names)
    assert found["kind"] == "sensors"
    coverage = np.asarray(problem.coverage)
    sensors, areas = np.array(found["sensors"]), np.array(found["areas"])
    for agent, slots in enumerate(found["slots"]):
        assert {area for area in slots if area < len(areas)} == set(np.flatnonzero(coverage[agent]))
    for area, column in enumerate(coverage.T):
        np.testing.assert_allclose(areas[area], sensors[column].mean(axis=0), atol=1e-4)


def test_positions_are_found_by_their_names():
    names = ("ally_0_x", "ally_0_y", "ally_0_alive", "robot 3 x", "robot 3 y", "box", "boy", "enemy_x", "speed")
    assert map_of({}, names) == {
        "kind": "positions",
        "units": [
            {"name": "ally 1", "x": 0, "y": 1, "alive": 2},
            {"name": "robot 3", "x": 3, "y": 4, "alive": -1},
        ],
        "down": False,
    }
    assert map_of(None, ("x", "y"))["units"] == [{"name": "position", "x": 0, "y": 1, "alive": -1}]
    assert map_of(None, ("row", "column", "x"))["down"]


def test_units_are_counted_from_1_where_the_data_count_from_0():
    names = [f"{unit}_{axis}" for unit in ("enemy_0", "enemy_10", "robot_1", "robot_2") for axis in "xy"]
    assert [unit["name"] for unit in map_of(None, names)["units"]] == ["enemy 1", "enemy 11", "robot 1", "robot 2"]


def test_there_is_no_map_where_nothing_says_where_things_are():
    assert map_of(None, ("heat", "box")) is None
    assert map_of({"kind": "of somebody else"}, ("heat",)) is None
    assert map_of({"kind": "sensor", "coverage": "damaged"}, ("heat",)) is None
