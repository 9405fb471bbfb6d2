"""A fixed share of `tests/fuzz.py`: 300 damaged inputs, of which each has to be right or a documented error."""

from __future__ import annotations

import pytest

from tests.fuzz import KINDS, fuzz


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_damaged_is_right_or_told(kind: str) -> None:
    ends = [(end, done, said) for end, done, said in fuzz(kind, 60, seed=0)]
    assert len(ends) == 60
    faults = [e for e in ends if e[0] in ("silent", "raw")]
    assert not faults, "\n".join(map(str, faults))
    assert {e[0] for e in ends} == {"right", "told"}, "the cases are not of both kinds"
