"""Templates and committed files in, pages out."""

from collections.abc import Sequence
from pathlib import Path

from composite_flow.errors import FileError
from composite_flow.files.plain_json import read_json
from composite_flow.files.plain_table import PlainTable, in_markdown
from composite_flow_paper.pages.committed import Committed
from composite_flow_paper.pages.tables import tables_of
from composite_flow_paper.pages.words import FILTERS

PRESET = "laptop"
ENDING = ".md.in"


def write_pages(folder: Path) -> list[Path]:
    """Fill every template of a folder, and return the pages written; none is where one cannot be filled."""
    pages = {template.with_suffix(""): filled_page(template) for template in sorted(folder.glob(f"*{ENDING}"))}
    for page, text in pages.items():
        page.write_text(text)
    return list(pages)


def filled_page(template: Path) -> str:
    """A page, from its template and the files beside it.

    Raises:
        FileError: the template names a place that no file has.
    """
    import jinja2

    folder = template.parent
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= FILTERS
    experiments = {path.name.removesuffix(f"-{PRESET}"): Committed(path) for path in folder.glob(f"*-{PRESET}")}
    files = {path.stem.replace("-", "_"): read_json(path) for path in folder.glob("*.json")}

    def table(experiment: str, title: str) -> str:
        return _in_markdown(_titled(tables_of(experiment, experiments[experiment].summary), title))

    try:
        text = environment.from_string(template.read_text()).render(**experiments, **files, table=table)
    except jinja2.TemplateError as error:
        raise FileError(f"{template} cannot be filled: {error}.") from error
    return f"<!-- Written by `make results` from {template.name}: change that. -->\n\n{text}"


def _titled(tables: Sequence[PlainTable], title: str) -> PlainTable:
    found = [table for table in tables if table[0].startswith(title)]
    if len(found) != 1:
        raise FileError(f"{len(found)} tables begin with {title!r}; there are: {', '.join(one[0] for one in tables)}.")
    return found[0]


def _in_markdown(table: PlainTable) -> str:
    """Header and rows without the title, which the page's own words stand for."""
    _, header, rows = table
    return in_markdown([("", header, rows)]).strip()
