"""Whether a model and data speak of the same problem."""

from typing import Any

from composite_flow.data.episodes import Episodes
from composite_flow.errors import MismatchError
from composite_flow.json_files import jsonable
from composite_flow.model import Model


def check_same_problem(model: Model, episodes: Episodes) -> None:
    """Refuse data whose histories or states the model cannot mean.

    Raises:
        MismatchError: sizes, names or the problem's description differ.
    """
    layout = model.layout
    sizes = {
        "agents": (layout.num_agents, episodes.num_agents),
        "actions": (layout.num_actions, episodes.num_actions),
        "observation features": (layout.observation_size, episodes.observation_size),
        "state features": (model.denoiser.state_size, episodes.state_size),
    }
    for name, (ours, theirs) in sizes.items():
        if ours != theirs:
            raise MismatchError(
                f"The model is of {ours} {name}, the data of {theirs}; use data of the model's problem."
            )
    if tuple(model.state_names) != tuple(episodes.state_names):
        raise MismatchError("Model and data name the state's features differently; use data of the model's problem.")
    trained_on, given = model.description.get("problem"), jsonable(episodes.description)
    if trained_on and given and trained_on != given:
        differing = sorted(name for name in {**trained_on, **given} if trained_on.get(name) != given.get(name))
        if differing == ["jaxmarl"]:
            raise MismatchError(
                f"The model was trained on worlds of JaxMARL {trained_on['jaxmarl']}, but the data come from those of "
                f"{given['jaxmarl']}, which may differ; collect them, or train the model, with the same version."
            )
        told = (f"{name} ({_short(trained_on.get(name))}, not {_short(given.get(name))})" for name in differing)
        raise MismatchError(
            f"The model was trained on another problem than the data's: they differ in {', '.join(told)}; "
            "use data of the model's problem."
        )


def _short(value: Any) -> str:
    """A value of a description, as far as it fits into a sentence."""
    text = str(value)
    return text if len(text) <= 24 else f"{text[:20]} …"
