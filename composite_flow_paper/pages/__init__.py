"""The pages of results, filled from the committed cells: `python -m composite_flow_paper.pages`.

`docs/results/NAME.md.in` is a Jinja template of `docs/results/NAME.md`. A template names numbers by their place in the
files, so that no number of a cell is written by hand:

    {{ figure4.summary.exact_rate.rate | number(".4f") }}        of figure4-laptop/summary.json
    {{ figure2.kept.pairs.deviation.median | spread(".2f") }}    of the cells kept-seed0.json, kept-seed1.json
    {{ table("figure3", "Ranks") }}                              a table that the experiment makes of its summary
"""

from composite_flow_paper.pages.fill import filled_page, write_pages

__all__ = ["filled_page", "write_pages"]
