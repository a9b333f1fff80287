"""The command line: parse, call, print, save. One sentence and a non-zero exit code where something is wrong."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import tyro
from tyro.extras import SubcommandApp

from composite_flow import __version__
from composite_flow.cli.agent import agent
from composite_flow.cli.analyze import analyze
from composite_flow.cli.calibrate import calibrate
from composite_flow.cli.collect import collect
from composite_flow.cli.demo import demo
from composite_flow.cli.devices import on_devices
from composite_flow.cli.evaluate import evaluate
from composite_flow.cli.evaluate_policy import evaluate_policy
from composite_flow.cli.export import export
from composite_flow.cli.import_data import import_data
from composite_flow.cli.inspect import inspect
from composite_flow.cli.play import play
from composite_flow.cli.probe import probe
from composite_flow.cli.reconstruct import reconstruct
from composite_flow.cli.reporting import say
from composite_flow.cli.reproduce import reproduce
from composite_flow.cli.show import show
from composite_flow.cli.team import team
from composite_flow.cli.train import train
from composite_flow.cli.train_policy import train_policy
from composite_flow.cli.worlds import worlds
from composite_flow.errors import CompositeFlowError

FAILED, INTERRUPTED = 1, 130

_ABOUT = "Infer the state of a world that no agent sees whole. --version tells the version."

app = SubcommandApp()
_COMMANDS = (
    demo,
    collect,
    train,
    evaluate,
    reconstruct,
    show,
    calibrate,
    analyze,
    train_policy,
    evaluate_policy,
    play,
    reproduce,
    inspect,
    agent,
    team,
    export,
    worlds,
    probe,
)
for _command in _COMMANDS:
    app.command(_command if _command is train else on_devices(_command))  # which looks at them once it has joined hosts
app.command(name="import")(on_devices(import_data))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: those of the process where not given.

    Returns:
        The exit code: 0, also for `--version`; 1 for an error that is told in one sentence; 130 for an interrupt.
        Wrong usage exits with 2.
    """
    if list(sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        print(f"composite-flow {__version__}")
        return 0
    if arguments is None:
        keep_compiled_programs()
        write_what_can_be_encoded()
    try:
        app.cli(prog="composite-flow", description=_ABOUT, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    except CompositeFlowError as error:
        say(f"Error: {error}")
        return FAILED
    except KeyboardInterrupt as interrupt:
        say(str(interrupt) or "Interrupted; run the same command again, files that were not whole are not used.")
        return INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        say(f"Error: {place}{error.strerror or error}; check the path, its permissions and the free space.")
        return FAILED
    return 0


def keep_compiled_programs() -> None:
    """Let later commands find what earlier ones compiled, in the user's own cache."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = cache_folder() / "composite-flow" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written: nothing is kept
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def write_what_can_be_encoded() -> None:
    """Replace what the terminal's or the file's encoding lacks, instead of breaking off."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again; RuntimeError where there is no home."""
    if "XDG_CACHE_HOME" in os.environ:
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path.home() / ".cache"


if __name__ == "__main__":
    sys.exit(main())
