"""`export`: a model's functions as files that run without JAX."""

from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from composite_flow.cli.options import RunFolder, Shared
from composite_flow.cli.reporting import show, table


def export(
    run: RunFolder,
    /,
    out: Path,
    *,
    format: Literal["onnx", "stablehlo"] = "onnx",
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Write `condition`, `denoise`, `answer` and `fuse` of a run to a folder, once they were held against JAX.

    With ONNX, the folder also holds an agent in NumPy, and `python FOLDER --name 3 --team T` runs it on a bus: it needs
    numpy, onnxruntime and eclipse-zenoh, and no JAX.

    Args:
        run: folder of a finished run.
        out: the folder to write.
        format: ONNX for any robot, or StableHLO for other programs of JAX.
    """
    from composite_flow.export.folder import export_model
    from composite_flow.model import load

    found = export_model(load(run), out, format, overwrite=shared.overwrite)
    rows = [(name, difference) for name, difference in found.items()]
    result = {"out": str(out), "format": format, "differences": found}
    show(result, [table(f"Exported to {out}", ("function", "difference from JAX"), rows)], as_json=shared.json)
