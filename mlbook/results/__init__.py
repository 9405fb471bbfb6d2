"""What `make results` measured: a JSON file for every run, with all that is needed to make it again."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def stored(pattern: str) -> list[dict[str, Any]]:
    """The stored runs of this name, sorted by their names.

    Args:
        pattern: The name of a run, such as `prototypical_5w1s`, or of several, with `*` and `?`.

    Returns:
        One dictionary a run, never an empty list: what was measured, its settings, the machine and the
        command that makes it again.

    Raises:
        ValueError: If no run is named so.
    """
    files = [f for f in sorted(FOLDER.glob("*.json")) if fnmatchcase(f.stem, pattern)]
    if not files:
        raise ValueError(
            f"no stored run is named {pattern!r}: give a name such as 'prototypical_5w1s', or a "
            "pattern such as 'prototypical_*'; stored('*') gives all"
        )
    return [json.loads(f.read_text(encoding="utf-8")) for f in files]
