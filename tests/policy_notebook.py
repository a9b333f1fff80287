"""Who listens to the training of a policy, for tests."""


class Notebook:
    """Keeps all that it is told."""

    def __init__(self):
        self.scalings, self.curves, self.inferred = [], {}, []

    def starts(self, scaling):
        self.scalings.append(scaling)

    def curve(self, network, points):
        self.curves[network] = list(points)

    def infers(self, step, found):
        self.inferred.append((step, found))
