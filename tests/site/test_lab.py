"""The lab page: its networks against torch, and what a hand can do with it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

from mlbook import Episode, load, load_pretrained
from mlbook.baselines import NearestNeighbour
from tests.site.conftest import HTML, Visit
from tools.lab import METHODS, SETS, packed, write

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


# ---- the page


def row(page: Page, name: str) -> Locator:
    return page.locator(f'.lb-line[data-method="{name}"]')


def best(page: Page, name: str) -> str:
    """The class that a method answers with."""
    said = row(page, name).locator("[data-best]").get_attribute("aria-label") or ""
    return said[:1]


def opened(visit: Visit, path: str = "book/lab.html") -> Page:
    """The lab when all methods have answered."""
    visit.page.goto(
        "about:blank"
    )  # so that an address with a state is a page of its own, as from a link
    page = visit.open(path)
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1, timeout=120_000)
    return page


def stroke(
    page: Page, points: list[tuple[float, float]], pad: str = ".lb-pad[data-on] canvas"
) -> None:
    """A line on a pad with the mouse, in parts of its width."""
    box = page.locator(pad).bounding_box()
    assert box is not None
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


CROSS = [[(0.2, 0.5), (0.8, 0.5)], [(0.5, 0.2), (0.5, 0.8)]]
SHAPES = [
    [[(0.5, 0.2), (0.5, 0.8)]],
    CROSS,
    [[(0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7), (0.3, 0.3)]],
    [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]],
    [[(0.2, 0.75), (0.5, 0.25), (0.8, 0.75)]],
]


@pytest.mark.parametrize("view", ["light", "dark", "phone"])
def test_the_example_is_answered_by_all(visits: dict[str, Visit], view: str) -> None:
    visit = visits[view]
    page = opened(visit)
    assert [best(page, name) for name in METHODS] == ["B"] * len(METHODS)
    assert best(page, "pixels") == "E"
    expect(row(page, "pixels")).to_have_attribute("data-odd", "")
    expect(page.locator("#lab .f-said")).to_have_text("8 of 9 say B. Nearest pixels: E.")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "nothing sticks out"
    for link in page.locator(".lb-name a").all():
        target = link.evaluate("a => a.href")
        assert (HTML / target.removeprefix(f"{visit.address}/")).exists()
    visit.shot(f"lab-{view}")
    assert not visit.problems


def test_five_characters_drawn_by_hand_and_one_of_them_again(visits: dict[str, Visit]) -> None:
    visit = visits["light"]
    page = opened(visit)
    said = page.locator("#lab .f-said")
    page.get_by_role("button", name="Draw all myself").click()
    expect(page.locator(".lb-line[data-ms]")).to_have_count(0)
    for k, shape in enumerate(SHAPES):
        letter = "ABCDE"[k]
        expect(said).to_have_text(f"Draw a character for class {letter}.")
        page.get_by_role("button", name=f"class {letter}", exact=True).click()
        for line in shape:
            stroke(page, line)
    expect(said).to_have_text("Now draw one of the five again, as the query.")
    page.get_by_role("button", name="query", exact=True).click()
    for line in CROSS:
        stroke(page, [(x + 0.04, y - 0.03) for x, y in line])
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1)
    assert [best(page, name) for name in ("prototypical", "relation", "maml")] == ["B"] * 3
    page.locator(".lb-left").get_by_role("button", name="Undo").locator("visible=true").click()
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1)
    page.locator(".lb-left").get_by_role("button", name="Clear").locator("visible=true").click()
    expect(said).to_have_text("Now draw one of the five again, as the query.")
    assert not visit.problems


def test_the_scores_on_the_page_are_those_of_torch(visits: dict[str, Visit]) -> None:
    """Of the pictures that are shared, which are those that the networks see: four grey levels."""
    page = opened(visits["light"])
    page.get_by_role("button", name="Another set").click()
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1)
    page.get_by_role("button", name="Copy link").click()
    text = parse_qs(page.evaluate("location.hash").split("&", 1)[1])["pictures"][0]
    levels = [base64.b64decode(part) for part in text.split(".")]
    pixels = [[(byte >> shift) & 3 for byte in b for shift in (0, 2, 4, 6)] for b in levels]
    x = torch.tensor(pixels).view(1, 6, 1, 28, 28) / 3
    model: Any = load_pretrained("relation")
    with torch.no_grad():
        wanted = model.adapt(x[:, :5], torch.arange(5)[None])(x[:, 5:])[0, 0]
    cells = row(page, "relation").locator(".lb-cell")
    found = torch.tensor([float(text) for text in cells.all_inner_texts()])
    torch.testing.assert_close(found, wanted, atol=6e-3, rtol=0)


def test_a_link_restores_what_was_drawn(visits: dict[str, Visit]) -> None:
    visit = visits["light"]
    page = opened(visit)
    stroke(page, [(0.1, 0.1), (0.9, 0.15)])
    page.get_by_role("slider").fill("2")
    expect(page.locator('.lb-line[data-step="2"]')).to_have_count(len(METHODS) + 1)
    expect(page.locator("#lab output")).to_have_text("2 steps")
    before = page.locator(".lb-cell").all_inner_texts()
    page.get_by_role("button", name="Copy link").click()
    address = page.evaluate("location.href")
    assert len(address) < 4000
    page = opened(visit, address.removeprefix(f"{visit.address}/"))
    assert page.locator(".lb-cell").all_inner_texts() == before
    expect(page.locator("#lab output")).to_have_text("2 steps")
    assert not visit.problems


def test_by_keys_alone(visits: dict[str, Visit]) -> None:
    """Letters choose, arrows and space draw."""
    visit = visits["light"]
    page = opened(visit)
    before = page.locator(".lb-cell").all_inner_texts()
    page.get_by_role("button", name="class C", exact=True).focus()
    page.keyboard.press("q")
    expect(page.locator(".lb-left .f-head")).to_have_text("The query")
    page.locator(".lb-pad[data-on] canvas").focus()
    page.keyboard.press("Delete")
    page.keyboard.press("Space")
    for key in ["ArrowRight"] * 6 + ["ArrowDown"] * 6:
        page.keyboard.press(key)
    page.keyboard.press("Space")
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1)
    assert page.locator(".lb-cell").all_inner_texts() != before
    after = row(page, "maml").locator(".lb-cell").all_inner_texts()
    page.get_by_role("slider").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#lab output")).to_have_text("0 steps")
    expect(page.locator('.lb-line[data-step="0"]')).to_have_count(len(METHODS) + 1)
    assert row(page, "maml").locator(".lb-cell").all_inner_texts() != after, "not adapted"
    assert not visit.problems


def test_by_touch(visits: dict[str, Visit]) -> None:
    visit = visits["phone"]
    page = opened(visit)
    page.get_by_role("button", name="class A", exact=True).tap()
    expect(page.locator(".lb-left .f-head")).to_have_text("Class A")
    page.locator(".lb-left").get_by_role("button", name="Clear").locator("visible=true").tap()
    expect(page.locator("#lab .f-said")).to_have_text("Draw a character for class A.")
    page.locator(".lb-pad[data-on] canvas").tap()  # a dot
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1)
    assert not visit.problems


def test_the_reader_plays_against_them(visits: dict[str, Visit]) -> None:
    """Answers are hidden until the reader's is given; then both are counted."""
    visit = visits["light"]
    page = opened(visit)
    page.get_by_role("button", name="Confuse them").click()
    expect(page.locator("#lab .f-said")).to_contain_text("Which of the five is it?")
    expect(page.locator(".lb-line[data-ms]")).to_have_count(0)
    truth = "ABCDE"[json.loads(SETS.read_text())["alike"][0]["truth"][0]]
    page.get_by_role("button", name=f"answer {truth}").click()
    expect(page.locator("#lab .f-said")).to_contain_text(f"Right, it is {truth}.")
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1)
    expect(page.locator(".lb-tally").first).to_have_text("you 1/1")
    expect(row(page, "pixels").locator(".lb-tally")).to_have_text(
        f"{int(best(page, 'pixels') == truth)}/1"
    )
    page.get_by_role("button", name="Next round").click()
    expect(page.locator(".lb-line[data-ms]")).to_have_count(0)
    page.get_by_role("button", name="answer A").focus()
    page.keyboard.press("e")
    expect(page.locator(".lb-tally").first).to_contain_text("/2")
    stroke(page, [(0.1, 0.9), (0.3, 0.9)])  # a query of one's own: the game is over
    expect(page.locator(".lb-tally")).to_have_count(1)
    expect(page.locator(".lb-line[data-ms]")).to_have_count(len(METHODS) + 1)
    assert not visit.problems


def test_from_disk(visits: dict[str, Visit]) -> None:
    page = opened(visits["light"], (HTML / "book" / "lab.html").as_uri())
    assert best(page, "prototypical") == "B"


def test_the_first_page_answers_one_query_and_loads_nothing_before(
    visits: dict[str, Visit],
) -> None:
    visit = visits["light"]
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    page = visit.open("book/intro.html")
    words = page.locator(".lq-words")
    expect(words).to_contain_text("A Prototypical Network says: the second")
    assert not [url for url in asked if "_static/lab/" in url], "only for those who draw"
    result = page.locator(".result").bounding_box()
    assert result is not None and result["y"] + result["height"] < 900, "above the fold"
    page.get_by_role("button", name="Clear").click()
    expect(words).to_contain_text("Draw one of the five again.")
    for line in ([(0.3, 0.2), (0.3, 0.8)], [(0.7, 0.2), (0.35, 0.5), (0.7, 0.8)]):  # a K
        stroke(page, line, ".lq canvas")
    expect(words).to_contain_text("A Prototypical Network says: the fourth")
    assert any("_static/lab/prototypical.js" in url for url in asked)
    assert not any("_static/lab/maml.js" in url for url in asked), "one network, not nine"
    assert not visit.problems


def test_where_nothing_can_be_loaded_the_page_says_so(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.route("**/_static/lab/**", lambda route: route.abort())
    page.goto(f"{address}/book/lab.html")
    expect(page.locator("#lab .f-said")).to_contain_text("The networks cannot be loaded here")
    expect(page.get_by_role("button", name="Another set")).to_be_disabled()
    page.get_by_role("button", name="Draw all myself").click()  # the pad works all the same
    stroke(page, [(0.2, 0.2), (0.8, 0.8)])
    expect(page.locator(".lb-pad[data-on] canvas")).to_be_visible()
    page.close()
