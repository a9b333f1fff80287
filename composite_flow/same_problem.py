"""Whether a model and data speak of the same problem."""

from typing import Any

from composite_flow.data.episodes import Episodes
from composite_flow.differences import told_differences
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
    if trained_on and given:
        what = "The model was trained on another problem than the data's"
        check_same_description(trained_on, given, what, "use data of the model's problem")


def check_same_description(trained_on: dict[str, Any], given: dict[str, Any], what: str, advice: str) -> None:
    """Refuse a problem that is not the one of training, another version of its library included.

    Args:
        trained_on, given: descriptions of problems, as JSON holds them.
        what: is wrong where they differ; the start of the sentence.
        advice: what to do then; its end.

    Raises:
        MismatchError: they differ; it says in what, with both values.
    """
    told = told_differences(trained_on, given).replace("jaxmarl (", "the version of JaxMARL (")
    if told:
        raise MismatchError(f"{what}: they differ in {told}; {advice}.")
