"""Tables become the episodes that their rows tell, from any source; faults are told by row and column."""

import jax
import numpy as np
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from composite_flow.data import Episodes, HistoryDataset
from composite_flow.data.table import reader, source
from composite_flow.errors import FileError, InputError

COLUMNS = {
    "episode": "run",
    "step": "t",
    "agent": "robot",
    "observation": ["seen", "extra"],
    "action": ["turn"],
    "state": ["heading", "mode"],
    "types": {"seen": "angle", "heading": "angle", "mode": "one of k"},
}


def robots(num_episodes: int = 7, seed: int = 0) -> dict[str, list]:
    """Three robots in ragged episodes: r2 has no column `extra`, and r3 is gone after half of each episode."""
    random, rows = np.random.default_rng(seed), []
    for episode in range(num_episodes):
        length = int(random.integers(2, 8))
        for t in range(length):
            heading, mode = random.uniform(-np.pi, np.pi), random.choice(["idle", "busy"])
            for robot in ("r1", "r2", "r3")[: 3 if 2 * t <= length else 2]:
                extra = None if robot == "r2" else random.normal()
                seen = heading + random.normal(0, 0.1)
                rows.append((f"e{episode}", t, robot, seen, extra, random.normal(), heading, str(mode)))
    names = ("run", "t", "robot", "seen", "extra", "turn", "heading", "mode")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


TABLE = robots()
EPISODES = Episodes.from_table(TABLE, **COLUMNS)
ARRAYS = ("observations", "actions", "states", "ends", "alive", "rewards")


def assert_same(one: Episodes, other: Episodes):
    for name in ARRAYS:
        assert np.array_equal(getattr(one, name)[:], getattr(other, name)[:]), name
    assert (one.state_names, one.columns) == (other.state_names, other.columns)
    assert np.array_equal(one.scaling.minimum, other.scaling.minimum)


def test_rows_become_steps_and_agents():
    assert (EPISODES.num_episodes, EPISODES.num_agents) == (7, 3)
    assert EPISODES.num_steps == len({(run, t) for run, t in zip(TABLE["run"], TABLE["t"], strict=True)})
    assert EPISODES.alive.sum() == len(TABLE["t"])
    assert EPISODES.state_names == ("sin heading", "cos heading", "mode = busy", "mode = idle")
    first = [row for row in range(len(TABLE["t"])) if TABLE["run"][row] == "e0" and TABLE["t"][row] == 1]
    for agent, row in enumerate(first):
        seen = [np.sin(TABLE["seen"][row]), np.cos(TABLE["seen"][row]), TABLE["extra"][row] or 0.0]
        np.testing.assert_allclose(EPISODES.observations[1, agent], seen, rtol=1e-6)
        np.testing.assert_allclose(EPISODES.actions[1, agent, 0], TABLE["turn"][row], rtol=1e-6)
    heading = TABLE["heading"][first[0]]
    busy = TABLE["mode"][first[0]] == "busy"
    np.testing.assert_allclose(EPISODES.states[1], [np.sin(heading), np.cos(heading), busy, not busy], atol=1e-7)


def test_what_an_agent_never_has_it_does_not_observe():
    assert EPISODES.columns.observed == ((True, True, True), (True, True, False), (True, True, True))
    assert EPISODES.columns.choices == (0,)
    assert EPISODES.columns.types == ("number", "number", "one of k: mode", "one of k: mode")


def csv(folder, table):
    pa.csv.write_csv(pa.table(table), folder / "log.csv")
    return folder / "log.csv"


def parquet(folder, table):
    pa.parquet.write_table(pa.table(table), folder / "log.parquet")
    return folder / "log.parquet"


SOURCES = {
    "csv": csv,
    "parquet": parquet,
    "polars": lambda _, table: polars.DataFrame(table),
    "arrow": lambda _, table: pa.table(table),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same(tmp_path, kind):
    assert_same(Episodes.from_table(SOURCES[kind](tmp_path, TABLE), **COLUMNS), EPISODES)


def test_in_many_shards_as_in_memory(tmp_path, monkeypatch):
    """Agents and levels that are met late start the reading again; a shard tells what only all of them show."""
    monkeypatch.setattr(reader, "SHARD_BYTES", 600)
    monkeypatch.setattr(source, "_ROWS", 8)
    found = Episodes.from_table(parquet(tmp_path, TABLE), **COLUMNS, folder=tmp_path / "data")
    assert len(list((tmp_path / "data").glob("*.h5"))) > 3 and len(list(tmp_path.iterdir())) == 2
    assert not found.in_memory
    assert_same(found, EPISODES)
    assert_same(Episodes.load(tmp_path / "data", in_memory=False), EPISODES)


def test_of_a_parquet_file_only_a_part_is_held(tmp_path):
    rows, path = 400_000, tmp_path / "log.parquet"
    columns = {name: np.random.default_rng(0).random(rows) for name in ("a", "b", "c", "d")}
    pa.parquet.write_table(pa.table(columns), path, row_group_size=10_000)
    before = pa.total_allocated_bytes()
    batches = source.open_source(path).batches(list(columns), list(columns), [])
    held = [pa.total_allocated_bytes() - before for _ in batches]
    assert len(held) >= 3 and max(held) < 0.6 * rows * len(columns) * 8


def test_the_order_of_rows_within_an_episode_does_not_matter():
    order = np.lexsort((np.random.default_rng(1).random(len(TABLE["t"])), TABLE["run"]))
    shuffled = {name: [values[row] for row in order] for name, values in TABLE.items()}
    assert_same(Episodes.from_table(shuffled, **COLUMNS), EPISODES)


def test_times_order_steps_and_whole_actions_are_choices():
    times = np.array(["2020-01-01T00:00:02", "2020-01-01T00:00:01", "2020-01-01T00:00:09"], "datetime64[s]")
    table = {"time": times, "x": [2.0, 1.0, 3.0], "go": [1, 0, 2]}
    found = Episodes.from_table(table, step="time", observation=["x"], state=["x"], action=["go"])
    assert found.observations[:, 0, 0].tolist() == [1.0, 2.0, 3.0] and found.columns.choices == (3,)
    columns = HistoryDataset(found, length=2).joint(np.array([2])).histories[0, 0]
    assert columns.tolist() == [2, 3, 0, 1, 0, 1, 1, 1]  # two observations, the action between, mask, identity


def test_a_row_for_each_step_with_the_columns_of_all_agents():
    table = {"a_x": [1.0, 2.0], "a_y": [3.0, 4.0], "b_x": [5.0, None], "s": [0.0, 1.0]}
    found = Episodes.from_table(table, observation={"a": ["a_x", "a_y"], "b": ["b_x"]}, state=["s"])
    assert found.observations.tolist() == [[[1, 3], [5, 0]], [[2, 4], [0, 0]]]
    assert found.alive.tolist() == [[True, True], [True, False]]
    assert found.columns.agents == ("a", "b") and found.columns.observed == ((True, True), (True, False))


def test_states_that_are_missing_are_not_taught_but_inferred():
    table = {
        "run": np.arange(40) // 4,
        "x": np.arange(40.0),
        "s": [None if t % 4 == 1 else float(t) for t in range(40)],
    }
    found = Episodes.from_table(table, episode="run", observation=["x"], state=["s"])
    assert found.known.tolist() == [t % 4 != 1 for t in range(40)]
    for part in HistoryDataset(found).split(key=jax.random.key(0)):
        assert not np.any(np.asarray(part.steps) % 4 == 1)
        assert np.sum(np.asarray(part.all_steps) % 4 == 1) == len(part.episode_ids)


def with_gap(row_of=lambda run, t, robot: run == "e0" and t == 1 and robot == "r1"):
    keep = [not row_of(*key) for key in zip(TABLE["run"], TABLE["t"], TABLE["robot"], strict=True)]
    return {name: [value for value, kept in zip(values, keep, strict=True) if kept] for name, values in TABLE.items()}


def test_gaps_are_refused_or_filled_in_as_the_user_decides():
    with pytest.raises(InputError, match="Agent 'r1' has no row at the step of row 3"):
        Episodes.from_table(with_gap(), **COLUMNS)
    found = Episodes.from_table(with_gap(), **COLUMNS, fill="previous")
    assert found.alive[1, 0] and np.array_equal(found.observations[1, 0], EPISODES.observations[0, 0])
    assert np.array_equal(found.observations[2], EPISODES.observations[2])
    assert (Episodes.from_table(with_gap(), **COLUMNS, fill=7).observations[1, 0] == 7).all()


def changed(column, row, value):
    return TABLE | {column: [value if place == row else old for place, old in enumerate(TABLE[column])]}


def place_of(run, t, robot):
    return list(zip(TABLE["run"], TABLE["t"], TABLE["robot"], strict=True)).index((run, t, robot))


def test_a_value_is_filled_in_from_its_own_episode_alone():
    """The agent's last one before; where the episode has none, it is refused and not taken from another one."""
    filled = Episodes.from_table(changed("seen", place_of("e1", 1, "r1"), None), **COLUMNS, fill="previous")
    first = int(EPISODES.starts[1])
    assert np.array_equal(filled.observations[first + 1, 0, :2], EPISODES.observations[first, 0, :2])
    missing = changed("seen", place_of("e1", 0, "r1"), None)
    with pytest.raises(InputError, match=r"lacks 'seen' of agent 'r1', and the episode has none before it"):
        Episodes.from_table(missing, **COLUMNS, fill="previous")
    number = Episodes.from_table(missing, **COLUMNS, fill=7).observations[first, 0, :2]
    assert np.array_equal(number, [7.0, 7.0])


def doubled():
    return {name: [*values[:2], values[1], *values[2:]] for name, values in TABLE.items()}


FAULTS = {
    "twice": (doubled(), {}, "Rows 1 and 2 are of the same episode and the same step of agent 'r2'"),
    "no value": (changed("seen", 4, None), {}, "Row 4 lacks 'seen' of agent 'r2'"),
    "text": (TABLE, {"types": {}}, "column 'mode' holds text where numbers are needed"),
    "apart": (changed("run", 5, "e1"), {}, "rows of episode 'e0' do not stand together"),
    "two states": (changed("heading", 1, 1.0), {}, "Row 1 says that 'sin heading' is 0.841471, another row"),
    "half a state": (changed("mode", 1, None), {}, "Row 1 lacks 'mode' of a state"),
    "no agent": (changed("robot", 2, None), {}, "Row 2 names no agent"),
    "damaged name": (changed("robot", 2, "r\0\0"), {}, "column 'robot' holds text with NUL characters"),
    "damaged level": (changed("mode", 2, "\0idle"), {}, "column 'mode' holds text with NUL characters"),
    "no such unit": (TABLE, {"units": {"bearing": "m"}}, "units names 'bearing', which is no column"),
    "no step": (changed("t", 2, None), {}, "column 't' must hold a number or a time in each row"),
    "no such column": (TABLE, {"action": ["bearing"]}, "has the column 'bearing' not at all; its columns are run"),
    "no such type": (TABLE, {"types": {"seen": "direction"}}, "'seen' cannot be of type 'direction'"),
    "typed nothing": (TABLE, {"types": {"bearing": "angle"}}, "types names 'bearing', which is no column"),
    "a letter": (TABLE, {"state": "heading"}, "state must be a list of columns"),
    "no fill": (TABLE, {"fill": "next"}, 'fill must be "previous", a number or None'),
    "no rows": ({name: pa.array([], pa.float64()) for name in TABLE}, {}, "has no rows"),
    "steps": (with_gap(lambda run, t, robot: run == "e1" and t == 1), {}, "Steps 1 to 1 are missing between rows"),
    "no states": (TABLE | {"heading": [None] * len(TABLE["t"]), "mode": [None] * len(TABLE["t"])}, {}, "no row tells"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_tables(tmp_path, fault):
    table, changes, sentence = FAULTS[fault]
    with pytest.raises(InputError, match=sentence):
        Episodes.from_table(table, **(COLUMNS | changes))
    with pytest.raises(InputError, match=sentence):
        Episodes.from_table(table, **(COLUMNS | changes), folder=tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_faults_of_files(tmp_path):
    for name, content, sentence in (
        ("a.csv", b"x,s\n1,2\n1,many\n", "invalid value 'many'"),
        ("a.parquet", b"PAR1 and no more", "cannot be read"),
        ("b.csv", b"", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError, match=f"{name}.* {sentence}"):
            Episodes.from_table(tmp_path / name, observation=["x"], state=["s"])
    with pytest.raises(FileError, match="does not exist"):
        Episodes.from_table(tmp_path / "c.csv", observation=["x"], state=["s"])
    with pytest.raises(InputError, match="must end in .csv or .parquet"):
        Episodes.from_table("log.xlsx", observation=["x"], state=["s"])
