"""The lab page: its networks against torch, and what a hand can do with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mlbook import Episode, load, load_pretrained
from mlbook.baselines import NearestNeighbour
from tools.lab import METHODS, packed, write

EPISODES, STEPS = 100, 5


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    """Tasks of five printed characters, an example and a query of each; example k is of class k."""
    tasks = load("glyphs").split("characters", seed=0)[2].episodes(ways=5, shots=1, queries=1)
    chosen = []
    for k in range(EPISODES):
        x, y, *query = tasks[k]
        order = y[0].argsort()
        chosen.append(Episode(x[:, order], y[:, order], *query))
    return chosen


def unpacked(name: str) -> tuple[Any, str]:
    """What the script of one method hands to the page: names and shapes, and the text of the numbers."""
    found = re.fullmatch(
        r"mlbookLab\.weights\(\"(\w+)\", (\[.*?\]\]), \"(.*?)\"\);\n", packed(name)
    )
    assert found and found[1] == name
    return json.loads(found[2]), found[3]


@pytest.mark.parametrize("name", [*METHODS, "pixels"])
def test_scores_are_those_of_torch(
    run: Callable[..., Any], name: str, episodes: list[Episode]
) -> None:
    """To 1e-3, of 100 episodes, with the weights as they are shipped; of MAML after every step."""
    model: Any = NearestNeighbour() if name == "pixels" else load_pretrained(name)
    code = """((method) => tasks.map(([support, query]) => {
        const learner = method(support.map((x) => Float32Array.from(x)));
        return Array.from(learner(Float32Array.from(query)), (v) => (v.length ? Array.from(v) : v));
    }))(m.method(name, index, text))"""
    index, text = ([], "") if name == "pixels" else unpacked(name)
    wanted, asked = [], []
    for x, y, query, _ in episodes:
        one = query[:, :1]  # MAML's batch norm sees who comes along
        asked.append([x[0].flatten(1).tolist(), one.flatten().tolist()])
        with torch.no_grad():
            if name == "maml":
                steps = range(STEPS + 1)
                scores = [model.adapt(x, y, steps=k)(one)[0, 0] for k in steps]
                wanted.append(torch.stack(scores))
            else:
                wanted.append(model.adapt(x, y)(one)[0, 0])
    found = run("methods", code, name=name, index=index, text=text, tasks=asked)
    torch.testing.assert_close(torch.tensor(found), torch.stack(wanted), atol=1e-3, rtol=1e-4)


def test_what_the_lab_loads_is_at_most_four_megabytes(tmp_path: Any) -> None:
    assert write(tmp_path) <= 4e6
