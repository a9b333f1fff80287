"""Windows are exact and never leak; splits are by episode; withheld states stay withheld; sampling is uniform."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from counter_world import CounterWorld, CyclingPolicy

from composite_flow.data import Episodes, HistoryDataset, collect
from composite_flow.errors import InputError, MismatchError

EPISODES = collect(CounterWorld(), 40, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6)
DATASET = HistoryDataset(EPISODES)


@pytest.fixture(scope="module")
def lazy(tmp_path_factory) -> Episodes:
    """The same episodes, read from several shards."""
    folder = tmp_path_factory.mktemp("data") / "a"
    EPISODES.save(folder, shard_bytes=1000)
    return Episodes.load(folder, in_memory=False)


def assert_same(one, other):
    """Every leaf, bit for bit."""
    assert all(np.array_equal(*leaves) for leaves in zip(*map(jax.tree.leaves, (one, other)), strict=True))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_windows_are_exact_and_stay_in_their_episode(length):
    dataset = HistoryDataset(EPISODES, length)
    batch = dataset.joint(dataset.steps)
    assert batch.histories.shape == (EPISODES.num_steps, 3, dataset.layout.size)
    assert_same(dataset.layout.decode(batch.histories), batch.structured)
    batch = jax.tree.map(np.asarray, batch)
    for step in range(EPISODES.num_steps):
        start = EPISODES.starts[EPISODES.episode_of_step[step]]
        for place, row in enumerate(range(step - length + 1, step + 1)):
            inside = row >= start
            assert np.all(batch.structured.mask[step, :, place] == inside)
            expected = EPISODES.observations[row] if inside else np.zeros((3, 3))
            assert np.array_equal(batch.structured.observations[step, :, place], expected)
            if place < length - 1:
                expected = EPISODES.actions[row] if inside else np.zeros(3)
                assert np.array_equal(batch.structured.actions[step, :, place], expected)
    assert np.array_equal(batch.structured.agent, np.tile(np.arange(3), (EPISODES.num_steps, 1)))
    assert np.array_equal(batch.states, EPISODES.scaling.scale(jnp.asarray(EPISODES.states)))


def test_windows_tell_their_sizes():
    windows = DATASET.windows
    assert (windows.num_steps, windows.num_agents) == (EPISODES.num_steps, 3)
    assert windows.state_size == EPISODES.states.shape[1] and windows.in_memory


def test_pairs_are_rows_of_joint_histories():
    dataset = HistoryDataset(EPISODES, 3)
    steps, agents = np.array([5, 0, 17, 5]), np.array([2, 0, 1, 1])
    pairs, joint = dataset.pairs(steps, agents), dataset.joint(steps)
    assert np.array_equal(pairs.histories, joint.histories[np.arange(4), agents])
    assert np.array_equal(pairs.states, joint.states)
    assert np.array_equal(pairs.structured.agent, agents)


def test_faults_of_batches():
    with pytest.raises(InputError, match="no step -1"):
        DATASET.joint(np.array([-1]))
    with pytest.raises(InputError, match=f"no step {EPISODES.num_steps}"):
        DATASET.pairs(np.array([EPISODES.num_steps]), np.array([0]))
    with pytest.raises(InputError, match="no agent 3; they are numbered 0 to 2"):
        DATASET.pairs(np.array([0]), np.array([3]))
    with pytest.raises(InputError, match="for at least one step"):
        DATASET.joint(np.zeros(0, int))
    with pytest.raises(InputError, match="at least one step"):
        HistoryDataset(EPISODES, 0)


def test_samples_are_uniform_over_steps_and_agents_of_the_part():
    """Chi-square at the 1% level, one fixed key; equal histories are counted together."""
    dataset = HistoryDataset(EPISODES, 5).split(key=jax.random.key(0))[1]
    rows = np.asarray(dataset.joint(dataset.steps).histories)
    table = {row.tobytes(): place for place, row in enumerate(rows.reshape(-1, rows.shape[2]))}
    states = np.repeat(np.asarray(dataset.joint(dataset.steps).states), 3, axis=0)
    sample = eqx.filter_jit(lambda dataset, key: dataset.sample(key, 20_000))
    histories, sampled_states = map(np.asarray, sample(dataset, jax.random.key(3)))
    counts = np.bincount([table[row.tobytes()] for row in histories], minlength=len(states))
    weights = np.bincount([table[row.tobytes()] for row in rows.reshape(-1, rows.shape[2])], minlength=len(states))
    used = weights > 0
    expected = weights[used] / weights.sum() * len(histories)
    assert scipy.stats.chisquare(counts[used], expected).pvalue > 0.01
    unique = weights[[table[row.tobytes()] for row in histories]] == 1
    places = np.array([table[row.tobytes()] for row in histories])
    assert np.array_equal(sampled_states[unique], states[places[unique]])


def test_a_split_is_by_episode_and_repeats():
    parts, again = (DATASET.split(key=jax.random.key(2), fractions=(0.5, 0.25, 0.25)) for _ in range(2))
    episodes = [part.episode_ids for part in parts]
    assert [len(ids) for ids in episodes] == [20, 10, 10]
    assert np.array_equal(np.sort(np.concatenate(episodes)), np.arange(40))
    assert sum(part.num_steps for part in parts) == EPISODES.num_steps
    for part, same in zip(parts, again, strict=True):
        assert np.array_equal(part.steps, same.steps)
        assert np.array_equal(DATASET.part(part.episode_ids).steps, part.steps)
        assert part.unseen is None and part.seen.num_steps == part.num_steps
    other = DATASET.split(key=jax.random.key(3), fractions=(0.5, 0.25, 0.25))[0]
    assert not np.array_equal(other.episode_ids, parts[0].episode_ids)


def test_calibration_is_a_part_of_its_own_before_the_test():
    """Test and validation are the same as without it; each part gets an episode, however few there are."""
    three = DATASET.split(key=jax.random.key(2), fractions=(0.5, 0.25, 0.25))
    four = DATASET.split(key=jax.random.key(2), fractions=(0.4, 0.25, 0.1, 0.25), withhold_states=0.2)
    assert [len(part.episode_ids) for part in four] == [16, 10, 4, 10]
    assert np.array_equal(np.sort(np.concatenate([part.episode_ids for part in four])), np.arange(40))
    assert np.array_equal(four[3].episode_ids, three[2].episode_ids)
    assert four[2].unseen is None and four[3].unseen is not None
    few = DATASET.part(np.arange(4)).split(key=jax.random.key(2), fractions=(0.97, 0.01, 0.01, 0.01))
    assert [len(part.episode_ids) for part in few] == [1, 1, 1, 1]
    with pytest.raises(InputError, match="4 parts"):
        DATASET.part(np.arange(3)).split(key=jax.random.key(2), fractions=(0.25, 0.25, 0.25, 0.25))


def test_withheld_states_occur_in_the_unseen_part_alone():
    train, validation, test = DATASET.split(key=jax.random.key(2), fractions=(0.4, 0.3, 0.3), withhold_states=0.25)
    withheld = {tuple(state) for state in test.withheld_states}
    assert len(withheld) == round(0.25 * len(DATASET.distinct_states()))
    for part in (train, validation, test.seen):
        assert not withheld & {tuple(state) for state in part.distinct_states()}
    assert {tuple(state) for state in test.unseen.distinct_states()} <= withheld
    assert test.seen.num_steps + test.unseen.num_steps == test.num_steps
    replayed = DATASET.part(train.episode_ids, withheld_states=train.withheld_states, remove_withheld=True)
    assert np.array_equal(replayed.steps, train.steps)
    replayed = DATASET.part(test.episode_ids, withheld_states=test.withheld_states)
    assert np.array_equal(replayed.unseen.steps, test.unseen.steps)


def test_faults_of_splits():
    key = jax.random.key(0)
    with pytest.raises(InputError, match="three or four positive shares"):
        DATASET.split(key=key, fractions=(0.5, 0.5))
    with pytest.raises(InputError, match="three or four positive shares"):
        DATASET.split(key=key, fractions=(0.5, 0.6, -0.1))
    with pytest.raises(InputError, match="from 0 to below 1"):
        DATASET.split(key=key, withhold_states=1.0)
    with pytest.raises(InputError, match="into 3 parts needs as many episodes at least, not 2"):
        DATASET.part(np.array([0, 1])).split(key=key)
    with pytest.raises(InputError, match="Episode 99 is not in this dataset"):
        DATASET.part(np.array([99]))
    with pytest.raises(InputError, match="would hold no steps"):
        DATASET.part(np.array([], int))
    with pytest.raises(InputError, match="would hold no steps"):
        DATASET.split(key=key, withhold_states=0.99)


def test_state_frequencies():
    states = DATASET.distinct_states()
    frequencies = DATASET.state_frequencies(states)
    counted = [(EPISODES.states == state).all(axis=1).mean() for state in states]
    assert np.allclose(frequencies, counted, atol=1e-7)  # float32 rounding
    doubled = DATASET.state_frequencies(np.concatenate([states, states[:2], [[9, 9]]]).astype(np.float32))
    assert np.allclose(doubled[:2], frequencies[:2] / 2) and doubled[-1] == 0
    assert np.allclose(doubled[:2], doubled[-3:-1])
    with pytest.raises(MismatchError, match="lacks"):
        DATASET.state_frequencies(states[1:])


def test_lazy_equals_in_memory(lazy):
    disk, memory = HistoryDataset(lazy, 3), HistoryDataset(EPISODES, 3)
    assert not disk.in_memory and memory.in_memory
    key, options = jax.random.key(4), {"withhold_states": 0.2}
    for one, other in zip(disk.split(key=key, **options), memory.split(key=key, **options), strict=True):
        assert np.array_equal(one.steps, other.steps)
        assert np.array_equal(one.distinct_states(), other.distinct_states())
        steps, agents = np.resize(one.steps, 256), np.arange(256) % 3  # one shape, one compilation
        assert_same(one.joint(steps), other.joint(steps))
        assert_same(one.pairs(steps, agents), other.pairs(steps, agents))
    with pytest.raises(InputError, match="sample from resident"):
        disk.sample(jax.random.key(0), 4)


def test_a_resident_share_holds_whole_episodes_that_fit(lazy):
    test = HistoryDataset(lazy, 3).split(key=jax.random.key(4), fractions=(0.2, 0.2, 0.6), withhold_states=0.2)[2]
    limit, drawn = 2500, set()
    for seed in range(12):
        share = test.resident(jax.random.key(seed), limit)
        arrays = share.windows.observations, share.windows.actions, share.windows.states
        assert share.in_memory and sum(array.nbytes for array in arrays) <= limit
        assert len(arrays[0]) == limit // test.windows.step_bytes  # one size, one compilation
        assert set(share.episode_ids) <= set(test.episode_ids)
        drawn |= set(share.episode_ids.tolist())
    whole = HistoryDataset(EPISODES, 3)
    same = whole.part(share.episode_ids, withheld_states=test.withheld_states)
    for one, other in ((share, same), (share.unseen, same.unseen)):
        assert one.num_steps == other.num_steps
        assert_same(one.joint(np.resize(one.steps, 64)), other.joint(np.resize(other.steps, 64)))
    assert drawn == set(test.episode_ids.tolist())
    histories = np.asarray(share.sample(jax.random.key(0), 400)[0])
    held = np.asarray(share.joint(np.resize(share.steps, 64)).histories).reshape(-1, whole.layout.size)
    assert {row.tobytes() for row in histories} == {row.tobytes() for row in held}
    assert share.resident(jax.random.key(0), 1) is share
    everything = test.resident(jax.random.key(0), 10**9)
    assert np.array_equal(everything.episode_ids, test.episode_ids) and everything.num_steps == test.num_steps
    with pytest.raises(InputError, match="Not one episode fits into these bytes"):
        test.resident(jax.random.key(0), 10)
