"""Data that do not fit into memory: shares that follow from the key and the step, the next one read meanwhile."""

import threading

import jax
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray
from test_fit import CONFIG, TABLE, Killed, Table, assert_same_bits

from composite_flow.errors import FileError
from composite_flow.training.fit import fit


class Halves(Table):
    """Pairs on a slow medium: in memory is half of them at a time."""

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> Table:
        rows = jax.random.permutation(key, len(self.states))[: len(self.states) // 2]
        return Table(self.histories[rows], self.states[rows], self.scaling, self.layout)


def of_table(kind: type[Table]) -> Table:
    return kind(TABLE.histories, TABLE.states, TABLE.scaling, TABLE.layout)


def test_data_on_disk_train_by_shares_and_resume_to_the_same_bits(tmp_path):
    shares = of_table(Halves)

    def kill(step, total, loss):
        if step >= 45:
            raise Killed

    whole = fit(shares, None, CONFIG, key=jax.random.key(1))
    with pytest.raises(Killed):
        fit(shares, None, CONFIG, key=jax.random.key(1), folder=tmp_path, progress=kill)
    assert_same_bits(fit(shares, None, CONFIG, key=jax.random.key(1), folder=tmp_path, resume=True), whole)


def test_a_share_is_trained_on_while_the_next_is_read():
    """The second share is asked for at step 0, in another thread; none is read twice, none that is not needed."""
    asked, reading = [], threading.Event()

    class Slow(Halves):
        def resident(self, key, num_bytes):
            asked.append((key, threading.current_thread() is threading.main_thread()))
            if len(asked) == 3:  # after the probe's and the first
                reading.wait(60)
            return super().resident(key, num_bytes)

    def progress(step, total, loss):
        assert step <= 40 or reading.is_set()
        if step == 40:  # reached although the second share is still being read
            reading.set()

    fit(
        of_table(Slow),
        None,
        CONFIG,
        key=jax.random.key(1),
        progress=progress,
    )
    keys = [np.asarray(jax.random.key_data(key)).tolist() for key, _ in asked]
    assert [in_main for _, in_main in asked] == [True, True, False]  # 60 steps, of which 40 on the first share
    assert keys[1:] == [
        np.asarray(
            jax.random.key_data(jax.random.fold_in(jax.random.fold_in(jax.random.key(1), 2**32 - 2), index))
        ).tolist()
        for index in range(2)
    ]


def test_a_share_that_cannot_be_read_ends_the_run_with_its_sentence():
    class Lost(Halves):
        def resident(self, key, num_bytes):
            if threading.current_thread() is not threading.main_thread():
                raise FileError("The shard is gone.")
            return super().resident(key, num_bytes)

    with pytest.raises(FileError, match="The shard is gone"):
        fit(of_table(Lost), None, CONFIG, key=jax.random.key(1))
