"""Picture: axes that a notebook shows by themselves, without pyplot. Importing this loads matplotlib."""

from __future__ import annotations

import io

from matplotlib.axes import Axes


class Picture(Axes):
    """Axes whose figure a notebook shows where they are the value of a cell; `figure` keeps it in a file."""

    name = "picture"

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        figure = self.get_figure(root=True)
        assert figure is not None, "axes are made in a figure"
        figure.savefig(drawn, format="png", dpi=110)
        return drawn.getvalue()
