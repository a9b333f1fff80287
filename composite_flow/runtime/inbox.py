"""What an agent has heard: one answer a sender and step. NumPy and JAX are not needed."""

from collections import Counter
from typing import Any

from composite_flow.errors import InputError

HELD = 4  # steps of each sender beyond those that may still count: senders may be ahead of the listener


class Inbox:
    """Answers of others by sender and step; the first one counts, and old ones are dropped."""

    def __init__(self, num_agents: int, own: int, max_age: int):
        self._answers: dict[int, dict[int, Any]] = {sender: {} for sender in range(num_agents) if sender != own}
        self._own, self._max_age, self._kept = own, max_age, max_age + 1 + HELD
        self._counts: Counter[int] = Counter()

    def receive(self, sender: int, step: int, answer: Any) -> bool:
        """Keep an answer; False where it says nothing new: a second one of a step, or older than all that are kept.

        Raises:
            InputError: there is no such other agent.
        """
        if sender not in self._answers:
            others = f"0 to {len(self._answers)}, without {self._own}"
            raise InputError(f"There is no other agent {sender}; the others are {others}.")
        held = self._answers[sender]
        if step in held or (len(held) == self._kept and step < min(held)):
            return False
        held[step] = answer
        self._counts[step] += 1
        if len(held) > self._kept:
            self._drop(held, min(held))
        return True

    def count(self, step: int) -> int:
        """How many have answered at a step."""
        return self._counts.get(step, 0)

    def heard(self, step: int, within: int | None = None) -> dict[int, tuple[int, Any]]:
        """Each sender's latest answer that counts at a step, with its own step: not ahead, and not too old.

        Args:
            step: the present one.
            within: age in steps; `max_age` where not given.

        Raises:
            InputError: the age is larger than that, or negative.
        """
        within = self._max_age if within is None else within
        if not 0 <= within <= self._max_age:
            raise InputError(f"within is an age from 0 to max_age, {self._max_age}, not {within}.")
        found = {}
        for sender, held in self._answers.items():
            usable = [at for at in held if step - within <= at <= step]
            if usable:
                found[sender] = (max(usable), held[max(usable)])
        return found

    def at(self, step: int) -> dict[int, Any]:
        """The answers of exactly this step, by sender."""
        return {sender: held[step] for sender, held in self._answers.items() if step in held}

    def forget(self, before: int | None = None) -> None:
        """Drop all answers, or those of steps before this one."""
        for held in self._answers.values():
            for step in [step for step in held if before is None or step < before]:
                self._drop(held, step)

    def _drop(self, held: dict[int, Any], step: int) -> None:
        del held[step]
        self._counts[step] -= 1
        if not self._counts[step]:
            del self._counts[step]
