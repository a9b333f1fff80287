"""What an exported agent carries over time: the product filter's parts on onnxruntime, or a chain's message."""

import numpy as np

from composite_flow.errors import InputError
from composite_flow.export.standalone.estimate import Estimate, carried_estimate
from composite_flow.export.standalone.exported import Exported
from composite_flow.runtime.carrying import Carrying
from composite_flow.runtime.chained import Chained
from composite_flow.runtime.inbox import Inbox
from composite_flow.runtime.sent import Sent

Known = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, weight, precision
NONE = np.zeros(0, np.float32)


def carried_by(exported: Exported, number: int, inbox: Inbox, max_age: int) -> Carrying | Chained:
    """What an agent of this folder carries; InputError where its model learned no filter, or max_age has no meaning."""
    if exported.carries is None:
        raise lacking_filter()
    parts, count = ProductParts(exported), exported.about["layout"]["num_agents"]
    if exported.carries == "product":
        return Carrying(parts, number, count, inbox, max_age)
    if max_age:
        raise InputError("A chain's message is of its own step: max_age is of answers, and has no meaning here.")

    def told(mean: np.ndarray, whose: np.ndarray) -> Estimate:
        return carried_estimate(exported.about, mean, np.zeros_like(mean), whose)

    return Chained(parts.initial[0], count, told)


class ProductParts:
    """The contract of `runtime.carrying.Parts`."""

    def __init__(self, exported: Exported):
        """Of a folder whose model learned a filter."""
        self._exported, initial = exported, exported.about["over_time"]["initial"]
        mean, weight, precision = (np.asarray(initial[name], np.float32) for name in ("mean", "weight", "precision"))
        self.initial: Known = mean, weight, precision
        self.nothing = exported.shapes_of(over_time=True)[0].nothing

    def say(self, history: np.ndarray, predicted: Known) -> Sent:
        """Evidence beside the prior's mean, weight and precision."""
        evidence, weight, precision = self._call("filter_say", {"history": history, **_named(predicted)})
        return Sent(evidence, weight, precision, NONE, NONE)

    def predict(self, known: Known) -> Known:
        """What is known, of the next step."""
        return self._call("filter_predict", _named(known))

    def take_in(self, predicted: Known, answers: Sent, heard: np.ndarray) -> Known:
        """The answers of those who were heard, added up and to what was predicted."""
        evidence, weight, precision = (part[heard].sum(axis=0) for part in answers[:3])
        sums = {"evidence": evidence, "told_weight": weight, "told_precision": precision}
        return self._call("filter_take_in", {**_named(predicted), **sums})

    def told(self, known: Known, heard: np.ndarray) -> Estimate:
        """In the state's own units."""
        return carried_estimate(self._exported.about, known[0], known[2], heard)

    def _call(self, name: str, arrays: dict[str, np.ndarray]) -> Known:
        mean, weight, precision = self._exported.call(name, **{key: part[None] for key, part in arrays.items()})
        return mean[0], weight[0], precision[0]


def _named(known: Known) -> dict[str, np.ndarray]:
    return dict(zip(("mean", "weight", "precision"), known, strict=True))


def lacking_filter() -> InputError:
    """The error of a folder whose model learned nothing by which its agents could carry what the team knows."""
    return InputError("This folder's model learned no filter over time, by which its agents could carry anything.")
