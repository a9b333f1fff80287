"""Folders of episodes wherever they are: links, relative paths, mounts, one that is worked in; two writers at once."""

import os
import subprocess
import sys

import numpy as np
import pytest

from composite_flow.data import Episodes, place
from composite_flow.data.episodes import ARRAYS
from composite_flow.data.folder import FolderWriter
from composite_flow.errors import FileError


def episodes(value: float = 0.0) -> Episodes:
    states = np.arange(12.0).reshape(12, 1) + value
    return Episodes.from_arrays(observations=states[:, None], actions=None, states=states, ends=np.arange(12) % 3 == 2)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path):
    (tmp_path / "scratch" / "place").mkdir(parents=True)
    (tmp_path / "data").symlink_to("scratch/place")
    for value in (0.0, 5.0):
        episodes(value).save(tmp_path / "data", overwrite=True)
        assert Episodes.load(tmp_path / "data").states[0] == value
    assert (tmp_path / "data").is_symlink() and names(tmp_path) == ["data", "scratch"]
    assert names(tmp_path / "scratch") == ["place"]


def test_a_relative_folder_is_read_after_the_process_went_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    episodes().save("a/b")
    found = Episodes.load("a/b", in_memory=False)
    monkeypatch.chdir("/")
    assert np.array_equal(found.states[:], episodes().states)


@pytest.mark.parametrize("name", ["a b", "ü", "a.partial.x", "#%&", "'\"", "-o", "a\nb", "ｘ" * 60])
def test_a_folder_may_have_any_legal_name(tmp_path, name):
    episodes().save(tmp_path / name, shard_bytes=50)
    assert np.array_equal(Episodes.load(tmp_path / name).states, episodes().states)
    assert names(tmp_path) == [name]


def test_the_folder_that_one_works_in_is_filled_from_within(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    for value in (0.0, 5.0):
        episodes(value).save(".", overwrite=True, shard_bytes=50)
        assert Episodes.load(".").states[0] == value
    assert tmp_path.stat().st_ino == inode and all(name.startswith("episodes-") for name in names(tmp_path))
    with pytest.raises(FileError, match="already holds episodes"):
        episodes().save(".")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileError, match=r"something other than episodes, thesis\.tex"):
        episodes().save(".", overwrite=True)
    assert Episodes.load(".").states[0] == 5.0


def test_a_mount_point_is_filled_from_within(tmp_path, monkeypatch):
    """As if mounted: it must not be renamed, and nothing be written beside it."""
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(place, "_is_mounted", lambda folder: folder == tmp_path / "volume")
    episodes().save(tmp_path / "volume")
    assert names(tmp_path) == ["volume"] and names(tmp_path / "volume") == ["episodes-00000.h5"]


def test_real_mounts_are_recognised():
    assert place._is_mounted(place.Path("/proc")) and not place._is_mounted(place.Path(__file__).parent)


def test_an_interrupted_write_within_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {name: getattr(episodes(), name) for name in ARRAYS}
    with FolderWriter(tmp_path, "c", ARRAYS) as writer:
        writer.write(0, 2, {name: array[:6] for name, array in arrays.items()}, {})
    with pytest.raises(FileError, match="holds no episodes"):
        Episodes.load(tmp_path)
    with FolderWriter(tmp_path, "c", ARRAYS) as writer:
        assert list(writer.finished) == [0]


def test_of_two_writers_the_second_is_refused_in_a_sentence(tmp_path):
    with FolderWriter(tmp_path / "a", "c", ARRAYS), pytest.raises(FileError, match="Another process is writing to"):
        episodes().save(tmp_path / "a")
    episodes().save(tmp_path / "a")


def test_a_lock_whose_holder_is_dead_is_free(tmp_path):
    code = (
        "import sys; from pathlib import Path; from composite_flow.data.folder import FolderWriter;"
        f"writer = FolderWriter(Path({str(tmp_path / 'a')!r}), 'c', {ARRAYS!r});"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(FileError, match="Another process is writing to"):
        episodes().save(tmp_path / "a")
    holder.kill()
    holder.communicate()
    episodes().save(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
