"""A figure as SVG inside a page: equal figures give equal text, whatever the user's own settings of matplotlib."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from dataflow.errors import harmless

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# No ids that differ from run to run; text as text, which can be searched; names with a dollar sign as they are.
SETTINGS: Any = {"svg.hashsalt": "archsim", "svg.fonttype": "none", "text.parse_math": False}
METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
DPI = 160  # of what is drawn as a picture inside
# Places to a hundredth of a point, which nobody sees; with six decimals a plot of many lines takes a third more.
TAG, LONG = re.compile(r"<[^>]*>"), re.compile(r"(?<![\w.])-?[0-9]+\.[0-9]{3,}")
IDS = re.compile(r'(\bid="|url\(#|href="#)')
# Its rule would hold for the whole page.
STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>\s*", re.S)


def svg_of(draw: Callable[[], Axes], *, name: str) -> str:
    """The axes that `draw` makes, as an svg element with their title; no id of it is one of those of another name."""
    import matplotlib
    from matplotlib.patches import StepPatch

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text, for which the reader has fonts
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        axes, written = draw(), io.StringIO()
        figure = axes.get_figure(root=True)
        assert figure is not None, "axes are made in a figure"
        for patch in figure.findobj(StepPatch):
            patch.set_rasterized(True)  # a thousand steps take a hundred times the bytes of their picture
        figure.savefig(written, format="svg", metadata=METADATA, dpi=DPI)
        title = axes.get_title(loc="left")
    text = harmless(written.getvalue())
    whole = STYLE.sub("", text[text.index("<svg") :]).strip()
    short = TAG.sub(lambda tag: LONG.sub(lambda number: f"{float(number[0]):.2f}", tag[0]), whole)
    inside = IDS.sub(rf"\g<1>{name}-", short)
    return inside.replace("<svg", f"<svg role=\"img\" aria-label={quoteattr(harmless(title) or name)}", 1)
