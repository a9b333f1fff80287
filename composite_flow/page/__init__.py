"""A page in which one watches agents infer and agree: one HTML file with its data and its script inside.

Read `content` (what a page shows), `from_model` (where it comes from) and `html` (the file). The script is written in
TypeScript, in `page/` of the repository; `bundle/` holds what it is built to.
"""

from composite_flow.page.show import show

__all__ = ["show"]
