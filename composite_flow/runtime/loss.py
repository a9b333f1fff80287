"""Messages that are lost or late on purpose, for tests: the same ones for the same seed, whatever else happens.

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
    """

    share: float = 0.0
    delay: float = 0.0
    seed: int = 0

    def fate(self, sender: int, listener: int, step: int) -> float | None:
        """Seconds by which what a sender says of a step is late at a listener; None where it is lost."""
        draw = random.Random(f"{self.seed} {sender} {listener} {step}")
        return None if draw.random() < self.share else self.delay * draw.random()
