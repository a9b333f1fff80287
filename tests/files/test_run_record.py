"""The files of an earlier run are removed where that is allowed, and refused by name where it is not."""

import pytest

from composite_flow import FileError
from composite_flow.files.run_record import remove_earlier_run

FILES = ("model.safetensors", "training.safetensors")


@pytest.fixture
def folder(tmp_path):
    """An earlier run that had not yet written its model, and a file of somebody else."""
    for name in ("training.safetensors", "notes.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_an_earlier_run_stays_unless_it_may_be_overwritten(folder):
    (folder / "model.safetensors").write_text("model")
    with pytest.raises(FileError, match=r"model\.safetensors exists already; resume that run"):
        remove_earlier_run(folder, FILES, overwrite=False)
    assert len(list(folder.iterdir())) == 3


def test_any_of_its_files_is_in_the_way(folder):
    with pytest.raises(FileError, match=r"training\.safetensors exists already"):
        remove_earlier_run(folder, FILES, overwrite=False)


def test_overwriting_removes_the_run_and_nothing_else(folder):
    remove_earlier_run(folder, FILES, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    remove_earlier_run(folder, FILES, overwrite=False)  # nothing is in the way any more


def test_a_folder_that_is_not_there_is_left_alone(tmp_path):
    remove_earlier_run(tmp_path / "new", FILES, overwrite=False)
    assert not (tmp_path / "new").exists()
