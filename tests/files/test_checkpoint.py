"""A checkpoint comes back bit for bit, or is refused with a sentence that names the file and the fault."""

import os
import resource
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from composite_flow.errors import FileError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint


@pytest.fixture
def tree(key):
    return {
        "weights": (jax.random.normal(key, (3, 4)), jnp.zeros((0, 2))),
        "step": jnp.array(7),
        "mask": jnp.array([True, False]),
        "key": jax.random.key(5),
        "keys": jax.random.split(key, 3),
        "activation": jax.nn.relu,
    }


def _bits(leaf):
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


@pytest.mark.parametrize("abstract", [False, True])
def test_every_leaf_comes_back_bit_for_bit(tmp_path, tree, abstract):
    save_checkpoint(tmp_path / "a" / "x.safetensors", tree, {"kind": "test"})
    like = eqx.filter_eval_shape(lambda: tree) if abstract else tree
    loaded = load_checkpoint(tmp_path / "a" / "x.safetensors", like)
    assert loaded["activation"] is jax.nn.relu
    arrays, loaded_arrays = (jax.tree.leaves(eqx.filter(t, eqx.is_array)) for t in (tree, loaded))
    for mine, theirs in zip(arrays, loaded_arrays, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(_bits(mine), _bits(theirs))
    assert jax.random.uniform(loaded["key"]) == jax.random.uniform(tree["key"])


def test_arrays_of_numpy_stay_in_numpy(tmp_path):
    save_checkpoint(tmp_path / "x", {"a": np.arange(3.0)})
    loaded = load_checkpoint(tmp_path / "x", {"a": np.zeros(3)})["a"]
    assert isinstance(loaded, np.ndarray) and loaded.dtype == np.float64 and loaded.tolist() == [0.0, 1.0, 2.0]


def test_the_description_names_format_and_versions(tmp_path, tree):
    save_checkpoint(tmp_path / "x", tree, {"kind": "test", "nested": {"a": [1, None]}})
    description = load_description(tmp_path / "x")
    assert description["kind"] == "test" and description["nested"] == {"a": [1, None]}
    assert description["format_version"] == 1 and description["versions"]["jax"] == jax.__version__


def test_nothing_is_overwritten_unless_asked(tmp_path, tree):
    save_checkpoint(tmp_path / "x", tree)
    before = (tmp_path / "x").read_bytes()
    with pytest.raises(FileError, match="exists already"):
        save_checkpoint(tmp_path / "x", {"a": jnp.zeros(2)})
    assert (tmp_path / "x").read_bytes() == before
    save_checkpoint(tmp_path / "x", {"a": jnp.zeros(2)}, overwrite=True)
    assert load_checkpoint(tmp_path / "x", {"a": jnp.ones(2)})["a"].sum() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, tree, keep):
    path = tmp_path / "x"
    save_checkpoint(path, tree)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileError, match=f"{path} is damaged"):
        load_checkpoint(path, tree)


def test_every_flipped_byte_is_noticed(tmp_path, tree):
    path = tmp_path / "x"
    save_checkpoint(path, tree)
    content = path.read_bytes()
    places = np.random.default_rng(0).choice(len(content), 100, replace=False)
    for place in [*places, len(content) - 1, 12]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            loaded = load_checkpoint(path, tree)
        except FileError as error:
            assert str(path) in str(error)
            continue
        # A flip in the padding of the header changes nothing that is read.
        np.testing.assert_array_equal(loaded["weights"][0], tree["weights"][0])


def test_missing_and_foreign_files_are_refused(tmp_path, tree):
    with pytest.raises(FileError, match="does not exist"):
        load_description(tmp_path / "x")
    (tmp_path / "text").write_text("not a model\n" * 10)
    with pytest.raises(FileError, match="not a safetensors file"):
        load_description(tmp_path / "text")
    save_file({"a": np.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(FileError, match="not a file of composite-flow"):
        load_checkpoint(tmp_path / "foreign", {"a": jnp.zeros(2)})


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "x"
    save_checkpoint(path, {"a": jnp.zeros(2), "b": jnp.zeros(3)})
    for like, fault in (
        ({"a": jnp.zeros(2)}, "unexpected array 'b'"),
        ({"a": jnp.zeros(2), "b": jnp.zeros(3), "c": jnp.zeros(1)}, "lacks array 'c'"),
        ({"a": jnp.zeros(2), "b": jnp.zeros(4)}, r"float32\[3\] as array 'b' where float32\[4\]"),
        ({"a": jnp.zeros(2), "b": jnp.zeros(3, int)}, "array 'b' where int32"),
    ):
        with pytest.raises(FileError, match=fault):
            load_checkpoint(path, like)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_may_be_read_by_whom_the_umask_lets(tmp_path, tree, umask, mode):
    before = os.umask(umask)
    try:
        save_checkpoint(tmp_path / "x", tree)
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode


def test_what_a_killed_writer_left_is_removed(tmp_path, tree):
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / ".tmp0").write_bytes(b"half")
    (tmp_path / "y.partial").write_bytes(b"half of a file, as versions before 0.2 left it")
    for name in ("x", "y"):
        save_checkpoint(tmp_path / name, tree)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y"]


def test_a_disk_that_is_full_leaves_the_old_file_alone(tmp_path, tree):
    path = tmp_path / "x"
    save_checkpoint(path, tree)
    before = path.read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(FileError, match="could not be written"):
            save_checkpoint(path, {"large": jnp.zeros(10_000)}, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
