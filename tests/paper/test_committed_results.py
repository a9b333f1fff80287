"""The committed cells are those that the laptop presets ask for, but for a list of those that are still to be computed;
what is drawn from them is what is committed.

Tables are compared byte for byte. Pixels may differ by one in 255, as rounding on another machine can move a colour
so far; another matplotlib or another font would show as more, and then the pictures are to be drawn and committed anew.
"""

from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from composite_flow.files.plain_json import read_json
from composite_flow_paper import experiments
from composite_flow_paper.experiment import load_experiment, read_result, tables_in_markdown

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NAMES = sorted(set(experiments()) - {"demo"})  # whose numbers alone are committed
STILL_TO_COMPUTE = {
    "acting": (  # minutes each
        "speaker-listener-*",
        "foraging-*",
        "battles-*",
        "sensors5x5-*",
        "*-agent-seed[1-4]",
        "*-own-belief-seed[1-4]",
        "*-composite-seed[1-4]",
        "*-composite-shared-*",
        "*-observations-*",
        "*-remembering-belief-*",
        "*-state-*",
    ),
    "figure4": ("paper_steady-*",),  # 40 minutes of two cores each
}
OF_BEFORE = ("kept-*", "withheld-*", "battles-*")
"""Cells of Figure 2 whose radius of estimates is from one random step of each episode, and promises no more; and whose
intervals of correlations draw pairs anew, not histories. Computed anew (remove them, and `reproduce figure2 --preset
laptop`), they have radii of whole episodes, what these cover, and intervals by histories, for the page to show."""


@pytest.fixture(scope="module", params=NAMES)
def committed(request):
    """An experiment, what its committed cells come to, and their folder."""
    experiment = load_experiment(request.param)
    folder = RESULTS / f"{request.param}-laptop"
    return experiment, read_result(experiment, experiment.presets["laptop"], folder), folder


def only_pixels(savefig):
    """Saves figures, but leaves vector files empty."""
    return lambda figure, path, **options: path.touch() if path.suffix == ".svg" else savefig(figure, path, **options)


def assert_close(found, kept):
    """The same words, and numbers but for the order in which a machine adds."""
    if isinstance(found, dict):
        assert found.keys() == kept.keys()
        for name, value in found.items():
            assert_close(value, kept[name])
    elif isinstance(found, list):
        assert len(found) == len(kept)
        for one, other in zip(found, kept, strict=True):
            assert_close(one, other)
    else:
        assert found == (pytest.approx(kept, rel=1e-9) if isinstance(kept, float) else kept)


def test_every_cell_is_there_and_they_come_to_what_is_committed(committed):
    experiment, result, folder = committed
    cells, missing = experiment.cells(result.settings, 0), STILL_TO_COMPUTE.get(experiment.name, ())
    kept = [cell for cell in cells if not any(fnmatch(cell.name, pattern) for pattern in missing)]
    assert sum(map(len, result.cells.values())) == len(kept)
    assert {cell.path(folder) for cell in kept} == {*folder.glob("*.json")} - {folder / "summary.json"}
    assert_close(result.summary, read_json(folder / "summary.json"))
    assert tables_in_markdown(experiment, result, len(cells)) == (folder / f"{experiment.name}.md").read_text()


def test_pictures_drawn_from_the_cells_are_the_committed_ones(committed, tmp_path, monkeypatch):
    """Pixels are compared; a vector file is the same figure, and only its name is."""
    experiment, result, folder = committed
    monkeypatch.setattr(Figure, "savefig", only_pixels(Figure.savefig))
    paths = experiment.draw(result, tmp_path)
    assert {path.name for path in paths} == {path.name for kind in ("png", "svg") for path in folder.glob(f"*.{kind}")}
    for path in paths:
        if path.suffix == ".png":
            drawn, kept = imread(path), imread(folder / path.name)
            assert drawn.shape == kept.shape
            assert np.abs(drawn - kept).max() <= 1.001 / 255


@pytest.mark.parametrize("path", sorted(RESULTS.glob("figure2-laptop/*-seed*.json")), ids=lambda path: path.stem)
def test_figure_2_tells_which_of_its_numbers_are_of_before(path):
    result, page = read_json(path)["result"], (RESULTS / "figure2.md").read_text()
    radii, ranks = result["conformal"], result["ranks"]["all_columns"]["measures"]
    before = any(fnmatch(path.stem, pattern) for pattern in OF_BEFORE)
    assert set(radii) == {"deviation", "estimate of one step" if before else "estimate"}
    assert before != ("coverage" in radii["deviation"]["levels"]["0.9"])
    assert before != ("num_groups" in ranks["effective"]["correlation"])
    assert ("one random step" in page) == ("No intervals are shown" in page) == bool(OF_BEFORE)
