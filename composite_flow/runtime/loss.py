"""Messages that are lost or late on purpose, and teams that fall apart, for tests.

What is drawn is the same for the same seed, whatever else happens.

Test machines cannot shape traffic, so that it is done where a listener takes messages from the bus.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """What becomes of each message on its way to one listener.

    Attributes:
        share: of messages that are lost.
        delay: seconds by which a message is late at most; drawn evenly.
        seed: of what is drawn, from sender, listener and the message's place.
        parted: the first and the last step at which agents of even and of odd numbers hear nothing of each other.
    """

    share: float = 0.0
    delay: float = 0.0
    seed: int = 0
    parted: tuple[int, int] | None = None

    def fate(self, sender: int, listener: int, step: int) -> float | None:
        """Seconds by which what a sender says of a step is late at a listener; None where it is lost."""
        if self.parted and self.parted[0] <= step <= self.parted[1] and (sender - listener) % 2:
            return None
        draw = random.Random(f"{self.seed} {sender} {listener} {step}")
        return None if draw.random() < self.share else self.delay * draw.random()
