"""A hundred agents, 180 features and 50 steps: the page is small enough, opens, and scrubs to its last step."""

import pytest

from benchmarks.page import KINDS, SCRUB, STATE, large
from composite_flow.page.html import write_page


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_team_is_watched(kind, tmp_path, opening):
    path = write_page(large(kind), tmp_path / "page.html")
    assert path.stat().st_size < 20e6
    with opening(path) as page:
        before = page.mean
        assert page.tab.evaluate(SCRUB) == 60
        after = page.mean
        assert len(after) == len(before) == STATE and after != before and not page.logged
