"""Progress bars: a widget where a notebook can show one, a line of text on standard error elsewhere."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm


def progress_bar(*args: Any, disable: bool = False, **options: Any) -> Any:
    """A bar of `tqdm`, of the kind that its place can show.

    `tqdm.auto` chooses in the same way, but loads more and complains in a kernel without ipywidgets.

    Args:
        *args: As for `tqdm`.
        disable: Show nothing. The environment variable `TQDM_DISABLE=1`, tqdm's own, does the same everywhere: what
            stores a notebook sets it.
        **options: As for `tqdm`.
    """
    if disable or os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        return tqdm(*args, disable=True, **options)
    if in_kernel() and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as widget

        return widget(*args, **options)
    return tqdm(*args, **options)


def in_kernel() -> bool:
    """Whether a kernel of Jupyter runs this, so that widgets can be shown; IPython is asked only where it is loaded."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
