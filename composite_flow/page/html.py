"""The page as one HTML file: the script and the style of the bundle, and the block of data, inside.

Its content security policy allows this script and this style alone, by their hashes, and no request to any network:
names of features and agents are text, whatever they hold.
"""

import base64
import contextlib
import hashlib
import html
import os
from importlib.resources import files
from pathlib import Path

from composite_flow.errors import FileError, InputError
from composite_flow.page.container import packed
from composite_flow.page.content import PageContent

LARGEST = 64 * 2**20
"""Bytes of a page; a browser takes long to open more."""

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
{icon}<title>{title}</title>
<style>{style}</style>
<script>{script}</script>
</head>
<body>
<main id="page"><h1>{title}</h1><p id="opening">Opening …</p><noscript>This page needs JavaScript.</noscript></main>
<script type="text/plain" id="data" data-size="{size}">{data}</script>
</body>
</html>
"""


_NO_ICON = '<link rel="icon" href="data:,">\n'  # which a browser would else ask a server for


def page_of(content: PageContent, *, served: bool = False) -> str:
    """The text of the file.

    Args:
        content: what it shows.
        served: by a server, whose stream of events it follows.

    Raises:
        InputError: the page would be larger than a browser opens in a moment.
    """
    data, bundle = packed(*content.block()), files("composite_flow.page") / "bundle"
    script, style = ((bundle / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    if len(data) > LARGEST:
        raise InputError(
            f"A page of these {len(content.lengths)} episodes would take {len(data) / 2**20:.0f} MB, and "
            f"{LARGEST // 2**20} MB is the most: show fewer episodes."
        )
    allowed = f"script-src {_hash(script)}; style-src {_hash(style)}" + ("; connect-src 'self'" if served else "")
    policy = f"default-src 'none'; {allowed}; img-src data:; base-uri 'none'; form-action 'none'"
    about = {"policy": policy, "title": html.escape(content.title), "icon": _NO_ICON if served else ""}
    return _TEMPLATE.format(**about, style=style, script=script, data=data, size=len(data))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def write_page(content: PageContent, path: Path, *, overwrite: bool = False) -> Path:
    """Write the file, whole or not at all.

    Raises:
        FileError: a file is in the way, or it cannot be written.
        InputError: as `page_of`.
    """
    if path.exists() and not overwrite:
        raise FileError(f"{path} already exists; choose another --out, or add --overwrite.")
    text = page_of(content)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise FileError(f"{path} could not be written: {error.strerror or error}.") from error
    return path
