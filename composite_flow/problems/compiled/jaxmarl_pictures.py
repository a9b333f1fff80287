"""Pictures of JaxMARL's worlds by its own visualisers, where it has one that gives an array.

Hanabi has none, and Overcooked v2's needs imageio, which JaxMARL does not install: they are drawn as rows of features.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from composite_flow.problems.picture import LONGEST, Picture, as_picture


def picture_of(name: str, world: Any, state: Any) -> Picture | None:
    """A state of the environment `name`; None where the library cannot draw it."""
    draw = next((draw for start, draw in _DRAWN.items() if name.startswith(start)), None)
    return None if draw is None else as_picture(draw(world, state))


def particles(world: Any, state: Any) -> np.ndarray:
    """Agents and landmarks as discs, and what is said."""
    module = importlib.import_module("jaxmarl.environments.mpe.mpe_visualizer")
    return _pixels(module.MPEVisualizer(world, [state]).fig)


def kitchen(world: Any, state: Any) -> np.ndarray:
    """The kitchen from above, and which cells agents see."""
    module = importlib.import_module("jaxmarl.viz.overcooked_v2_visualizer")
    one = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[None], state)
    return np.asarray(module.OvercookedV2Visualizer().render_sequence(one, world.agent_view_size)[0])


def maze(world: Any, state: Any) -> np.ndarray:
    """The map from above, robots, and where they go."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 6), layout="constrained")
    world.init_render(axes, state, lidar=False)
    return _pixels(figure)


def _pixels(figure: Any) -> np.ndarray:
    """What a figure shows, drawn as large as pictures are."""
    figure.set_dpi(LONGEST / max(figure.get_size_inches()))
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())


_DRAWN: dict[str, Callable[[Any, Any], np.ndarray]] = {"MPE_": particles, "overcooked_v2": kitchen, "jaxnav": maze}
