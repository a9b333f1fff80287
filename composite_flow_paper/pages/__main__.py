"""Write all pages of results anew."""

from pathlib import Path

from composite_flow_paper.pages.fill import write_pages

if __name__ == "__main__":
    for path in write_pages(Path("docs/results")):
        print(path)
