"""Drawing a world by the pictures of its own library; what agents see or infer are rows of features."""

from matplotlib.axes import Axes

from composite_flow.plots.episode_features import FeaturePainter
from composite_flow.plots.style import INK


class PicturePainter(FeaturePainter):
    """Draws the steps of one episode of whose world there are pictures."""

    @property
    def key(self) -> str:
        return f"{self.agent_key} The first panel is drawn by the world's own library."

    def world(self, axes: Axes, step: int) -> None:
        """The library's picture of this step."""
        assert self.record.pictures is not None
        axes.imshow(self.record.pictures[step])
        axes.set_axis_off()
        axes.set_title("The world", color=INK)
