"""Logs in the formats of others: what their own libraries wrote comes in as it was."""

import h5py
import numpy as np
import pytest

from composite_flow.cli import main
from composite_flow.data import Episodes
from composite_flow.data.foreign import bag_table, hdf5_arrays, minari_episodes
from composite_flow.errors import FileError, InputError

# --- HDF5


@pytest.fixture
def own_file(tmp_path):
    with h5py.File(tmp_path / "log.h5", "w") as file:
        file["log/obs"] = np.arange(24.0).reshape(6, 2, 2)
        file["log/world"] = np.arange(6.0)[:, None]
        file["log/run"] = [0, 0, 0, 4, 4, 4]
        file["log/done"] = [0, 0, 1, 0, 0, 1]
    return tmp_path / "log.h5"


NAMES = {"observations": "log/obs", "states": "log/world"}


@pytest.mark.parametrize("ends", ["log/run", "log/done"])
def test_own_hdf5_by_a_mapping_of_names(own_file, ends):
    found = Episodes.from_arrays(**hdf5_arrays(own_file, NAMES | {"ends": ends}))
    assert found.ends.tolist() == [False, False, True] * 2 and found.observations[5, 1, 1] == 23.0


def test_faults_of_own_hdf5(own_file):
    for names, kind, sentence in (
        (NAMES, InputError, "'ends' is missing"),
        (NAMES | {"ends": "log/run", "reward": "x"}, InputError, "'reward' is no part"),
        (NAMES | {"ends": "log/end"}, FileError, "has no data set 'log/end'; it has log"),
        (NAMES | {"ends": "log"}, FileError, "has no data set 'log'"),
    ):
        with pytest.raises(kind, match=sentence):
            hdf5_arrays(own_file, names)


def test_own_hdf5_on_the_command_line(own_file, capsys):
    out = own_file.parent / "data"
    command = ["import", "hdf5", str(own_file), "--map", "observations=log/obs", "states=log/world", "ends=log/run"]
    assert main([*command, "--out", str(out)]) == 0 and Episodes.load(out).num_episodes == 2
    assert main([*command, "--out", str(out)]) == 1 and "already holds episodes" in capsys.readouterr().err


# --- bags


def write_bag(path, headers=(0, 1, 2, 3), plugin="mcap"):
    """Two robots' positions: a at 0, 1, 2, 3 s, whose headers may differ; b half a second later."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    point, header, time = (store.types[name] for name in (POINT, "std_msgs/msg/Header", "builtin_interfaces/msg/Time"))
    position = store.types["geometry_msgs/msg/Point"]
    with Writer(path, version=9, storage_plugin=StoragePlugin[plugin.upper()]) as writer:
        topics = {name: writer.add_connection(f"/{name}/at", POINT, typestore=store) for name in ("a", "b")}
        for place, stamp in enumerate(headers):
            for name, seconds, nanoseconds in (("a", stamp, 0), ("b", place, 500_000_000)):
                stamped = header(stamp=time(sec=seconds, nanosec=nanoseconds), frame_id="")
                message = point(header=stamped, point=position(x=float(place), y=10.0 * place, z=0.0))
                recorded = place * 10**9 + nanoseconds
                writer.write(topics[name], recorded, store.serialize_cdr(message, POINT))
    return path


POINT = "geometry_msgs/msg/PointStamped"
COLUMNS = {"ax": "/a/at:point.x", "ay": "/a/at:point.y", "bx": "/b/at:point.x"}


def read(bags):
    """The columns of all bags."""
    parts = list(bags.parts())
    return {name: np.concatenate([part[name] for part in parts]) for name in bags.column_names}


@pytest.mark.parametrize("plugin", ["mcap", "sqlite3"])
def test_topics_become_columns_at_a_rate(tmp_path, plugin):
    bags = bag_table([write_bag(tmp_path / "one", plugin=plugin)] * 2, COLUMNS, rate=2.0)
    table = read(bags)
    assert table["time"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5] * 2
    assert table["ay"].tolist() == [0, 0, 10, 10, 20, 20, 30, 30] * 2
    np.testing.assert_array_equal(table["bx"], [np.nan, 0, 0, 1, 1, 2, 2, 3] * 2)
    columns = dict(episode="episode", step="time", observation={"a": ["ax", "ay"], "b": ["bx"]}, state=["ax"])
    for source in (table, bags):
        found = Episodes.from_table(source, **columns)
        assert found.num_episodes == 2 and found.alive[:2].tolist() == [[True, False], [True, True]]
    found = Episodes.from_table(bags, **columns, folder=tmp_path / "data")
    assert np.array_equal(found.observations[:], Episodes.from_table(table, **columns).observations)


def test_faults_of_bags(tmp_path):
    bag = write_bag(tmp_path / "bag")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metadata.yaml").write_text("rosbag2_bagfile_information: 7")
    for path, columns, rate, sentence in (
        (write_bag(tmp_path / "back", (0, 2, 1, 3)), COLUMNS, 2.0, "clock of '/a/at' runs backwards at 1.000000 s"),
        (bag, COLUMNS | {"cx": "/c/at:point.x"}, 2.0, "no topic '/c/at'; it has /a/at, /b/at"),
        (bag, COLUMNS | {"q": "/a/at:point.q"}, 2.0, "no field 'point.q', as 'q' is missing"),
        (bag, COLUMNS | {"q": "/a/at:point"}, 2.0, "is no number"),
        (bag, {"x": "/a/at"}, 2.0, "is to be TOPIC:FIELD"),
        (bag, COLUMNS, 0.0, "rate must be a positive number"),
        (tmp_path / "bad", COLUMNS, 2.0, "is no bag that can be read"),
        (tmp_path / "none", COLUMNS, 2.0, "does not exist"),
    ):
        with pytest.raises((FileError, InputError), match=sentence):
            read(bag_table(path, columns, rate))


def test_a_bag_on_the_command_line(tmp_path):
    command = ["import", "bag", str(write_bag(tmp_path / "bag")), "--rate", "2", "--map"]
    command += [f"{name}={where}" for name, where in COLUMNS.items()]
    command += ["--observation", "a=ax", "a=ay", "b=bx", "--state", "ax", "--out", str(tmp_path / "data")]
    assert main(command) == 0
    assert Episodes.load(tmp_path / "data").columns.agents == ("a", "b")


# --- Minari


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Two episodes of agents a, of two features, and b, of one."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    import gymnasium as gym
    import minari
    from minari.data_collector.episode_buffer import EpisodeBuffer

    box, choice = (lambda size: gym.spaces.Box(-9, 9, (size,), np.float32)), gym.spaces.Discrete(3)
    episodes = [
        EpisodeBuffer(
            id=number,
            observations={"a": np.full((4, 2), number, np.float32), "b": np.arange(4, dtype=np.float32)[:, None]},
            actions={"a": np.array([0, 1, 2]), "b": np.array([2, 1, 0])},
            rewards=[1.0, 2.0, 3.0],
            terminations=[False, False, number == 0],
            truncations=[False, False, number == 1],
            infos={"state": np.arange(4.0)[:, None] + number},
        )
        for number in range(2)
    ]
    spaces = {"observation_space": gym.spaces.Dict({"a": box(2), "b": box(1)})}
    spaces["action_space"] = gym.spaces.Dict({"a": choice, "b": choice})
    minari.create_dataset_from_buffers(
        "team/log-v0",
        episodes,
        **spaces,
        algorithm_name="none",
        code_permalink="none",
        author="none",
        author_email="none",
        description="a log",
    )
    return "team/log-v0"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_minari_by_agent_with_its_state(dataset, tmp_path):
    found = Episodes.from_episodes(minari_episodes(dataset))
    assert (found.num_episodes, found.num_steps, found.columns.agents) == (2, 8, ("a", "b"))
    assert found.actions[:4].tolist() == [[0, 2], [1, 1], [2, 0], [0, 0]]
    assert found.rewards.tolist() == [1, 2, 3, 0] * 2 and found.truncations.tolist() == [False] * 7 + [True]
    assert found.states[:, 0].tolist() == [0, 1, 2, 3, 1, 2, 3, 4]
    assert main(["import", "minari", dataset, "--out", str(tmp_path / "data")]) == 0
    assert Episodes.load(tmp_path / "data").num_steps == 8
    with pytest.raises(InputError, match=r"has no infos\['world'\]"):
        Episodes.from_episodes(minari_episodes(dataset, state="world"))
    with pytest.raises(FileError, match="team/none-v0 is no data set that Minari can read"):
        list(minari_episodes("team/none-v0"))
