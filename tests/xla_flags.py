"""Flags of XLA for the tests, and which of them are known: XLA ends the process at the first unknown one."""

import importlib.util
import mmap
from collections.abc import Sequence
from pathlib import Path

# Nearly all of the suite's time goes into compiling small programs that run once: let them be compiled quickly.
# The fusion emitters cost the most, as each fusion goes through a compiler pipeline of its own; without them one
# LLVM module per program, rather than 32, saves the common part of each. The preset leaves out costly passes.
# XLA reads this when JAX is imported, and stops at a flag that it does not know; a setting of one's own is kept.
QUICK_COMPILATION = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",  # no longer known to JAX 0.11
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE",
)


def known_flags(flags: Sequence[str]) -> list[str]:
    """Those of the flags `--name=value` that the installed jaxlib knows; none where its library is not found.

    XLA registers a flag by its name, a C string in jaxlib's library. Names of removed flags may still stand there as
    reserved fields of a message, but not between zero bytes. A word in capitals is the value of an enumeration, whose
    names stand in a message alone. Finding all takes about a tenth of a second, and half a second more for each flag
    that is not there.
    """
    library = xla_library()
    if library is None:
        return []
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        return [flag for flag in flags if _knows(code, *flag.removeprefix("--").split("="))]


def xla_library() -> Path | None:
    """The library that holds XLA, by far the largest of jaxlib's; None where jaxlib is not installed."""
    package = importlib.util.find_spec("jaxlib")
    if package is None or not package.submodule_search_locations:
        return None
    (folder,) = package.submodule_search_locations
    files = [path for path in Path(folder).iterdir() if path.suffix in (".so", ".dylib", ".dll", ".pyd")]
    return max(files, key=lambda path: path.stat().st_size, default=None)


def _knows(code: mmap.mmap, name: str, value: str) -> bool:
    registered = code.find(b"\0" + name.encode() + b"\0") >= 0
    return registered and (not value.isupper() or code.find(value.encode()) >= 0)
