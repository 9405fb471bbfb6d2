"""What the site's build hands to the lab: nothing of the weights is lost, and the sets are what they say."""

from __future__ import annotations

import base64
import json
import re

import pytest
import torch

from mlbook import bundle, load, load_pretrained
from tools import lab


@pytest.mark.parametrize("name", lab.METHODS)
def test_packed_weights_are_those_that_are_shipped(name: str) -> None:
    found = re.fullmatch(r'mlbookLab\.weights\("(\w+)", (.*), "([\w+/=]+)"\);\n', lab.packed(name))
    assert found and found[1] == name
    numbers = torch.frombuffer(bytearray(base64.b64decode(found[3])), dtype=torch.float16).float()
    state = load_pretrained(name).state_dict()
    needed = {k for k, v in state.items() if v.is_floating_point()}
    index = json.loads(found[2])
    left_out = {"head.weight", "head.bias"} if name == "centroids" else set()
    assert {k for k, _ in index} == needed - left_out
    for key, shape in index:
        size = torch.Size(shape).numel()
        assert torch.equal(numbers[:size].view(shape), state[key])
        numbers = numbers[size:]
    assert not len(numbers)


def test_a_picture_keeps_its_four_levels_and_their_places() -> None:
    levels = torch.randint(4, (1, 28, 28), generator=torch.Generator().manual_seed(0))
    raw = base64.b64decode(lab.picture((85 * levels).to(torch.uint8)))
    found = [(byte >> shift) & 3 for byte in raw for shift in (0, 2, 4, 6)]
    assert found == levels.flatten().tolist()


def test_the_stored_sets_are_omniglots_test_characters() -> None:
    """Every picture is one of a test class, those of a query of the class that it is said to be."""
    sets = json.loads(lab.SETS.read_text())
    assert len(sets["plain"]) >= 10 and len(sets["alike"]) >= 10
    try:
        images = load("omniglot").split("characters", seed=0)[2].images
    except FileNotFoundError:
        pytest.skip("Omniglot is not here: no network and no MLBOOK_DATA")
    classes: dict[str, set[int]] = {}
    for c, pictures in enumerate(images):
        for x in pictures:
            classes.setdefault(lab.picture(x), set()).add(c)
    for one in [*sets["plain"], *sets["alike"]]:
        support = [classes[text] for text in one["support"]]
        assert len(set.union(*support)) >= 5, "five classes"
        for text, k in zip(one["query"], one["truth"], strict=True):
            assert text != one["support"][k]
            assert classes[text] & support[k]


def test_the_worker_is_a_program_of_its_own() -> None:
    text = bundle.worker("lab/worker.js")
    assert text.index("__modules['nets/matmul.js'] = ") < text.index(
        "__modules['lab/worker.js'] = "
    )
    assert text.count("onmessage = ") == 1
    assert "import {" not in text and "export " not in text
