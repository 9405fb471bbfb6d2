from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mlbook import evaluate, load, load_pretrained
from mlbook.data.files import read_tensors
from mlbook.pretrained import MODELS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "mlbook" / "pretrained"


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_small_whole_and_ready(name: str) -> None:
    model = load_pretrained(name)
    assert not model.training
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= 3e6
    assert set(read_tensors(FOLDER / f"{name}.safetensors")[0]) == set(model.state_dict())


def test_all_weights_together_are_at_most_25_megabytes_and_each_has_a_model() -> None:
    files = list(FOLDER.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 25e6
    assert {file.stem for file in files} == set(MODELS)


def test_the_recorded_accuracy_is_that_of_the_shipped_weights() -> None:
    """Of the first 100 of the recorded 1,000 tasks, within what chance allows."""
    try:
        _, _, test = load("omniglot").split("characters", seed=0)
    except FileNotFoundError:
        pytest.skip("Omniglot is not here: no network and no MLBOOK_DATA")
    recorded = json.loads((ROOT / "results" / "prototypical_5w1s.json").read_text())
    tasks = test.episodes(5, 1, 15, rotations=True, seed=1)
    result = evaluate(load_pretrained("prototypical"), tasks, n=100)
    deviation = recorded["interval"] / 1.96 * 10**0.5  # of a mean over a tenth of the episodes
    assert abs(100 * result.mean - recorded["accuracy"]) < 4 * deviation + 0.05


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"load_pretrained\('maml'\): there are weights for 'prototypical'"
    ):
        load_pretrained("maml")
