"""The arithmetic that the figure of `meta_network` does by hand, against torch's."""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Browser, Page
from torch import Tensor

from mlbook import plots
from mlbook.model_based.meta_network import augmented

WAYS, DIM, HIDDEN, QUERIES = 5, 6, 8, 3


def tensors() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and representations as they are after rounding, and as the figure is given them."""
    torch.manual_seed(0)
    sizes = {"Q": [DIM * HIDDEN + HIDDEN * HIDDEN], "W": [DIM * HIDDEN + WAYS * HIDDEN]}
    shapes = sizes | {"z": [WAYS, DIM], "z_query": [QUERIES, DIM], "fast": sizes["Q"]}
    shapes |= {name: [WAYS, *sizes["W"]] for name in ("memory", "other")}
    exact, sent = {}, {}
    for name, shape in shapes.items():
        t = torch.randn(shape, dtype=torch.float64)
        scale = t.abs().max().item() / 127
        whole = (t / scale).round().to(torch.int8)
        exact[name] = whole.double() * scale
        bits = base64.b64encode(whole.numpy().tobytes()).decode()
        sent[name] = {"shape": shape, "scale": scale, "bits": bits}
    return exact, sent


def expected(at: dict[str, Tensor], query: int, **dials: float) -> tuple[Tensor, Tensor]:
    """Attention and scores of one query."""
    first = DIM * HIDDEN
    slow_q = [at["Q"][:first].view(HIDDEN, DIM), at["Q"][first:].view(HIDDEN, HIDDEN)]
    slow_w = [at["W"][:first].view(HIDDEN, DIM), at["W"][first:].view(WAYS, HIDDEN)]
    fast = dials.get("embedding", 1) * at["fast"]
    r, keys = (augmented(at[name], slow_q, fast) for name in ("z_query", "z"))
    cosines = F.normalize(r, dim=-1) @ F.normalize(keys, dim=-1).mT
    a = (dials.get("sharpness", 1) * cosines).softmax(-1)
    memory = at["memory"] if not dials.get("moved") else at["memory"].roll(-1, 0)
    read = dials.get("base", 1) * (a @ memory)
    return a[query], augmented(at["z_query"], slow_w, read)[query]


def check(page: Page, a: Tensor, scores: Tensor) -> None:
    said = page.locator(".mn-grid").get_attribute("aria-label") or ""
    shown = [[float(v) for v in re.findall(r"-?\d+\.\d+", part)] for part in said.split(";")]
    for got, wanted in zip(shown, (a, scores), strict=True):
        assert len(got) == WAYS
        for x, y in zip(got, wanted.tolist(), strict=True):
            assert math.isclose(x, y, abs_tol=2e-4)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Any:
    picture = base64.b64encode(bytes(28 * 28 // 4 * WAYS)).decode()
    pictures = {"size": 28, "hidden": HIDDEN, "support": picture, "query": picture}
    data = {**pictures, "query_y": [4, 0, 2], **tensors()[1]}
    page = browser.new_page(viewport={"width": 800, "height": 700})
    page.set_content(f"<body>{plots.figure('meta_network', alt='a task', data=data).data}")
    yield page
    page.close()


def dial(page: Page, label: str, value: float) -> None:
    page.get_by_role("slider", name=label).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )


def test_the_figure_computes_what_torch_does(page: Page) -> None:
    exact = tensors()[0]
    check(page, *expected(exact, 0))
    page.get_by_role("button", name="query 1 of 3").press("ArrowRight")
    check(page, *expected(exact, 1))
    dial(page, "sharpness of the attention", 4)
    check(page, *expected(exact, 1, sharpness=4))
    dial(page, "fast part of b", 0.5)
    dial(page, "fast part of u", 1.5)
    check(page, *expected(exact, 1, sharpness=4, base=0.5, embedding=1.5))
    page.get_by_role("button", name="of the wrong labels").click()
    check(page, *expected(exact, 1, sharpness=4, base=0.5, embedding=1.5, moved=1))
    page.get_by_role("button", name="Reset").click()
    check(page, *expected(exact, 1))


def test_its_sentence_counts_the_right_answers(page: Page) -> None:
    exact = tensors()[0]
    right = sum(int(expected(exact, q)[1].argmax()) == label for q, label in enumerate([4, 0, 2]))
    assert f"{right} of the 3 queries" in page.locator(".f-said").inner_text()
