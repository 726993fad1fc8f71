"""JSON as this project writes it: one form, and no NaN, which is no JSON."""

from __future__ import annotations

import json
from typing import Any


def json_text(data: Any) -> str:
    """The data as JSON on lines of their own. Raises ValueError for NaN and infinities.

    >>> print(json_text({"cycles": 3, "seconds": None}))
    {
     "cycles": 3,
     "seconds": null
    }
    """
    return json.dumps(data, indent=1, allow_nan=False)
