"""Write a model's functions into a folder, once the files were held against JAX, with all that an agent needs beside.

manifest.json     layout of histories, names, shapes of answers, the model's checksum, and the format's version
measured.npz      how far errors reach and what is usual among sound agents, where it was measured
*.onnx            or *.stablehlo: `answer` and `fuse`, `condition` and `denoise`, as far as they were learned; over time
                  `filter_say`, `filter_predict` and `filter_take_in`, or `filter_hop`; `chain_hop` of the gated chain
agent.py          with ONNX: the agent in NumPy; python FOLDER --name 3 --team T runs it on a bus
composite_flow/   with ONNX: the modules that it imports, which need NumPy alone
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax import export as jax_export

from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.export.function import Exported
from composite_flow.export.functions import functions_of
from composite_flow.export.graphs import graph_of
from composite_flow.export.manifest import manifest_of, measured_of
from composite_flow.files.plain_json import write_json
from composite_flow.model import Model

Format = Literal["onnx", "stablehlo"]
CLOSE = 1e-5  # of the largest value of a row, or of 1
STANDALONE = ("agent.py", "__main__.py")
BESIDE = ("answers", "estimate", "exported", "hops", "over_time", "verdict")
RUNTIME = """
    broadcast bus carrying chained inbox inference ledger loss member memory message names observation payload process
    ring rounds sent stepping tree
""".split()
_HERE = Path(__file__).parent


def export_model(model: Model, folder: Path, form: Format = "onnx", *, overwrite: bool = False) -> dict[str, float]:
    """Write the folder, whole or not at all.

    Args:
        model: with learned fusion, a learned denoiser, or both.
        folder: new, or one that an earlier export wrote.
        form: ONNX, or StableHLO as `jax.export` serialises it.
        overwrite: replace an earlier export.

    Returns:
        The largest difference of each function from JAX, relative as it was checked.

    Raises:
        InputError: nothing that can be exported was learned, or ONNX is not installed.
        MismatchError: a file does not compute what JAX does, to 1e-5.
        FileError: the folder is in the way.
    """
    functions = functions_of(model)
    if not functions:
        raise InputError("This model learned nothing that could be exported.")
    _check_free(folder, overwrite)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write, read = (_onnx_of, _run_onnx) if form == "onnx" else (_stablehlo_of, _run_stablehlo)
        differences = {}
        for name, function in functions.items():
            path = partial / f"{name}.{form}"
            path.write_bytes(write(model, name, function))
            differences[name] = _difference(name, function, read(path))
        write_json(partial / "manifest.json", manifest_of(model, form, sorted(functions)))
        if arrays := measured_of(model):
            np.savez(partial / "measured.npz", allow_pickle=False, **arrays)
        if form == "onnx":
            _copy_standalone(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return differences


def _check_free(folder: Path, overwrite: bool) -> None:
    """An earlier export may be replaced where that is asked; nothing else ever."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (overwrite and (folder / "manifest.json").exists()):
        advice = "choose another --out, or add --overwrite to replace an earlier export"
        raise FileError(f"{folder} is not empty; {advice}.")


def _difference(name: str, function: Exported, call: Callable[..., dict[str, np.ndarray]]) -> float:
    """How far a file's results are from JAX's, on one example and on many; refused where that is too far."""
    largest, jitted = 0.0, jax.jit(function.call)
    for rows in (1, len(function.examples[0])):
        arguments = tuple(example[:rows] for example in function.examples)
        expected, found = jitted(*arguments), call(*arguments)
        for part, values in expected.items():
            values = np.asarray(values)
            if not values.size:
                continue
            scale = np.maximum(1.0, np.max(np.abs(values), axis=1, keepdims=True))
            largest = float(np.maximum(largest, np.max(np.abs(found[part] - values) / scale)))  # also of NaN
    if not largest <= CLOSE:
        sentence = f"The exported `{name}` differs from JAX by {largest:.2g}, more than {CLOSE:g}"
        raise MismatchError(f"{sentence}: nothing was written.")
    return largest


def _onnx_of(model: Model, name: str, function: Exported) -> bytes:
    return graph_of(model, name)


def _run_onnx(path: Path) -> Callable[..., dict[str, np.ndarray]]:
    try:
        import onnxruntime
    except ImportError:
        raise InputError("Exports are checked by onnxruntime: pip install 'composite-flow[export]'.") from None
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    inputs, outputs = ([one.name for one in ends] for ends in (session.get_inputs(), session.get_outputs()))

    def call(*arguments: np.ndarray) -> dict[str, np.ndarray]:
        found = session.run(outputs, dict(zip(inputs, arguments, strict=True)))
        return dict(zip(outputs, map(np.asarray, found), strict=True))

    return call


def _stablehlo_of(model: Model, name: str, function: Exported) -> bytes:
    (batch,) = jax_export.symbolic_shape("batch")
    shapes = (jax.ShapeDtypeStruct((batch, size), np.float32) for size in function.inputs.values())
    return bytes(jax_export.export(jax.jit(function.call))(*shapes).serialize())


def _run_stablehlo(path: Path) -> Callable[..., dict[str, np.ndarray]]:
    call = jax_export.deserialize(bytearray(path.read_bytes())).call
    return lambda *arguments: dict(jax.tree.map(np.asarray, call(*arguments)))


def _copy_standalone(folder: Path) -> None:
    """The agent and the modules that it imports, under the names by which it imports them."""
    for name in STANDALONE:
        shutil.copyfile(_HERE / "standalone" / name, folder / name)
    package = folder / "composite_flow"
    needed = [
        "errors",
        *(f"export/standalone/{name}" for name in BESIDE),
        *(f"runtime/{name}" for name in RUNTIME),
    ]
    for path in (package / f"{name}.py" for name in needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_HERE.parent / path.relative_to(package), path)
    for inner in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (inner / "__init__.py").write_text('"""What of composite-flow runs without JAX."""\n')
