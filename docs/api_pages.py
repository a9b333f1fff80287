"""Adds one page of API reference for each public module, in the order in which data flows through them."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parent.parent / "composite_flow"
READ_FIRST = ("denoiser", "fixed_points", "composite")
ORDER = (
    "errors problems history belief data denoiser network linear_gaussian flow probability_ode push_forward jacobian "
    "relu_jacobian sensitivity fixed_points composite certificate deviation analysis metrics model training baselines "
    "evaluation runs policy plots files numerics"
).split()
LEFT_OUT = ("cli",)


def _modules() -> list[str]:
    """Dotted names below the package; those in `ORDER` first, each package before its modules."""
    paths = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")]
    names = {".".join(path.parts).removesuffix("__init__").removesuffix(".") for path in paths}
    public = [name for name in names if name and not any(part.startswith("_") for part in name.split("."))]
    shown = [name for name in public if name.split(".")[0] not in LEFT_OUT]
    return sorted(shown, key=_place)


def _place(name: str) -> tuple[int, str]:
    top = name.split(".")[0]
    return (ORDER.index(top) if top in ORDER else len(ORDER), name)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages in the navigation."""
    assert config.nav is not None
    pages = [{name: f"api/{name}.md"} for name in _modules()]
    config.nav.append({"API": [{"Where to start": "api/index.md"}, *pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generate them."""
    links = ", ".join(f"[`{name}`]({name}.md)" for name in READ_FIRST if name in _modules())
    index = f"# API\n\nThree modules, read in this order, hold the paper: {links}.\n"
    files.append(File.generated(config, "api/index.md", content=index))
    for name in _modules():
        content = f"# {name}\n\n::: composite_flow.{name}\n    options:\n      show_root_heading: false\n"
        files.append(File.generated(config, f"api/{name}.md", content=content))
    return files
