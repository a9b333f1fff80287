"""Shows the pages that `make pages` wrote into docs/pages on docs/page.md; they are not kept in git."""

from pathlib import Path

MARK = "<!-- pages -->"
TITLES = {
    "demo": "Nine sensors and two targets, the demo",
    "network": "The 5×5 network",
    "battle": "A battle of five against five",
}
_STYLE = "width: 100%; height: 48rem"
_FRAME = '<iframe src="../pages/{name}.html" title="{title}" loading="lazy" style="{style}"></iframe>'


def on_page_markdown(markdown, page, **_):
    """Puts a frame for each page that there is in the place of the mark."""
    if page.file.src_uri != "page.md":
        return markdown
    there = [name for name in TITLES if (Path(__file__).parent / "pages" / f"{name}.html").exists()]
    frames = [f"## {TITLES[name]}\n\n{_FRAME.format(name=name, title=TITLES[name], style=_STYLE)}" for name in there]
    return markdown.replace(MARK, "\n\n".join(frames))
