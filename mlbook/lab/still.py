"""One output that is alive where there are widgets and shows what is stored where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def alive_or_still(still: dict[str, Any], widget: Callable[[], Any]) -> Any:
    """The MIME bundle of a widget with the stored output beside it; without anywidget the stored output alone."""
    try:
        import anywidget  # noqa: F401
    except ImportError:
        return still
    live: Any = widget()._repr_mimebundle_()
    alive, metadata = live if isinstance(live, tuple) else (live, {})
    return {**alive, **still}, metadata
