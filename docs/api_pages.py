"""The API reference: an index by task, and below it one page for each public module."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parent.parent / "composite_flow"
LEFT_OUT = ("cli",)

TASKS: dict[str, tuple[str, ...]] = {
    "Bring your data": ("Episodes", "HistoryDataset", "Scaling", "History", "HistoryLayout"),
    "Collect from a world": ("collect", "SensorNetwork", "problem_from_text", "Problem", "RandomPolicy"),
    "Train": ("fit", "TrainingConfig", "Network", "Model", "load"),
    "Infer the team's state": ("Model.reconstruct", "reconstruct", "reconstruct_batch", "Estimate", "Sampling"),
    "Infer it by fusion": ("Model.fuse", "Model.infer_by_chain", "Model.sample", "TeamEstimate"),
    "Keep it up over time": ("Model.filter",),
    "Say whom to ask next": ("TeamEstimate.next_agent", "TeamEstimate.ranked_agents", "Model.ask"),
    "Say how sure it is": ("TeamEstimate.interval", "TeamEstimate.region", "TeamEstimate.possible_states", "calibrate"),
    "Know when not to answer": ("TeamEstimate.verdict", "Verdict"),
    "Be one agent of a team": ("Agent", "Agent.observe", "Agent.receive", "Agent.estimate"),
    "Watch a team infer": ("show",),
    "Infer what one agent knows": ("find_fixed_points", "FixedPoints", "converge"),
    "Check an estimate": ("certify", "certify_batch", "Certificate", "measured_radius"),
    "Compare with the truth": ("exact_belief", "Belief", "IdealDenoiser", "evaluate", "psnr", "exact_states"),
    "Analyse fixed points": ("deviations", "state_jacobian", "score", "probability_flow", "push_forward_log_density"),
    "Act on what is inferred": ("train_policy", "MappoConfig", "load_policy", "evaluate_policy"),
    "Bring a denoiser of your own": ("Denoiser", "check_denoiser", "Uniform", "Fixed"),
    "Bring a world of your own": ("Problem", "EnumerableProblem", "check_problem", "register_problem"),
    "Bring a rule of composition": ("CompositionRule", "check_rule", "CompositeDiffusion", "ParallelMean"),
    "Bring a policy input": ("PolicyInput", "register_policy_input"),
    "When something is wrong": ("CompositeFlowError", "InputError", "FileError", "MismatchError", "TooLargeError"),
}
"""What people want to do, and the names of `cf` that do it, the most important first."""

ROOMS: dict[str, tuple[str, ...]] = {
    "The paper, chapter by chapter": (
        "denoiser", "network", "linear_gaussian", "flow", "probability_ode", "push_forward", "fixed_points", "jacobian",
        "relu_jacobian", "sensitivity", "deviation", "composite", "certificate", "analysis", "belief", "history",
    ),
    "Beyond the paper": (
        "fusion", "runtime", "export",
    ),
    "Data and worlds": ("data", "problems"),
    "Training and runs": ("training", "baselines", "model", "evaluation", "runs", "metrics"),
    "Policies": ("policy",),
    "Pictures, files, numerics": ("plots", "page", "files", "numerics", "errors", "validation"),
}  # fmt: skip
"""Modules and packages below `composite_flow`, in the order in which they are best read; others follow at the end."""


def _modules() -> list[str]:
    """Dotted names below the package, in the order of `ROOMS`, each package before its modules."""
    paths = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")]
    names = {".".join(path.parts).removesuffix("__init__").removesuffix(".") for path in paths}
    public = [name for name in names if name and not any(part.startswith("_") for part in name.split("."))]
    return sorted((name for name in public if name.split(".")[0] not in LEFT_OUT), key=_place)


def _place(name: str) -> tuple[int, str]:
    order = [top for tops in ROOMS.values() for top in tops]
    top = name.split(".")[0]
    return (order.index(top) if top in order else len(order), name)


def _rooms() -> dict[str, list[str]]:
    """The modules of each room."""
    room_of = {top: room for room, tops in ROOMS.items() for top in tops}
    found: dict[str, list[str]] = {room: [] for room in (*ROOMS, "More")}
    for name in _modules():
        found[room_of.get(name.split(".")[0], "More")].append(name)
    return {room: names for room, names in found.items() if names}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages in the navigation, by room."""
    assert config.nav is not None
    rooms = [{room: [{name: f"api/{name}.md"} for name in names]} for room, names in _rooms().items()]
    config.nav.append({"API": [{"By task": "api/index.md"}, *rooms]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generate them."""
    files.append(File.generated(config, "api/index.md", content=_index()))
    for name in _modules():
        content = f"# {name}\n\n::: composite_flow.{name}\n    options:\n      show_root_heading: false\n"
        files.append(File.generated(config, f"api/{name}.md", content=content))
    return files


def _index() -> str:
    """Tasks with the names that do them, then all modules with their first sentence."""
    lines = ["# API by task", "", "`import composite_flow as cf`; every name below is a name of `cf`.", ""]
    for task, names in TASKS.items():
        links = ", ".join(f"[`{name}`][{_defined(name)}]" for name in names)
        lines.append(f"- **{task}**: {links}")
    lines += ["", "## All modules", ""]
    for room, names in _rooms().items():
        lines += [f"### {room}", "", "| module | |", "|---|---|"]
        lines += [f"| [`{name}`]({name}.md) | {_first_sentence(name)} |" for name in names]
        lines.append("")
    return "\n".join(lines)


def _defined(name: str) -> str:
    """Where a name of `cf` is defined, which is where the reference describes it."""
    import composite_flow

    top, *rest = name.split(".")
    found = getattr(composite_flow, top)
    return ".".join([found.__module__, top, *rest])


def _first_sentence(module: str) -> str:
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = path.read_text().removeprefix('"""').split('"""')[0].split("\n\n")[0]
    return " ".join(text.split()).replace("|", "\\|")
