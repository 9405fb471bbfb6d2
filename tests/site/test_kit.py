"""The parts that all figures share, in a real browser: bundles, state in the address, theme, pad, handles, host."""

from __future__ import annotations

import math
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from mlbook import bundle, plots


@pytest.fixture
def page(browser: Browser) -> Any:
    page = browser.new_page(viewport={"width": 800, "height": 700})
    page.set_content("<body style='background: white'><div id='here'></div>")
    yield page
    page.close()


def modules(page: Page, *names: str) -> None:
    """The kit's modules as `kit`, under their own names."""
    files = tuple(f"kit/{name}.js" for name in names)
    merged = ", ".join(f"...__modules['{file}']" for file in files)
    page.evaluate(f"() => {{ {bundle._modules(files)} window.kit = {{ {merged} }}; }}")


@pytest.mark.parametrize("name", bundle.figures())
def test_a_bundle_is_a_figure(page: Page, name: str) -> None:
    assert page.evaluate(f"typeof ({bundle.bundle(name)}).render") == "function"


def test_the_same_names_in_two_modules_do_not_clash(
    page: Page, tmp_path: Any, monkeypatch: Any
) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "a.js").write_text("const own = 1, __a = 5;\nexport const one = own;\n")
    (tmp_path / "sum.js").write_text(
        'import { one } from "./kit/a.js";\nconst own = 2;\nexport default { render() { return one + own; } };\n'
    )
    monkeypatch.setattr(bundle, "FOLDER", tmp_path)
    assert page.evaluate(f"({bundle.bundle('sum')}).render()") == 3


def test_a_figure_comes_to_life_in_its_element_and_leaves_nothing(page: Page) -> None:
    figure = plots.figure("shrinkage", alt="Two plots.").data
    page.set_content(f"<body>{figure}")
    assert page.locator("svg").count() == 2
    assert "trust the notebook" not in page.locator("body").inner_text()
    stripped = figure[: figure.index("<script>")]  # as an untrusted notebook shows it
    page.set_content(f"<body>{stripped}")
    assert (
        "Two plots. To bring this figure to life, run its cell" in page.locator("body").inner_text()
    )
    page.set_content(
        f"<body>{figure}{figure}"
    )  # twice on a page: each its own, though they share an id
    assert page.locator(".mlbook-figure").nth(1).locator("svg").count() == 2
    modules(page, "host")
    left = page.evaluate(
        f"""() => {{ const el = document.createElement("div"), figure = {bundle.bundle("shrinkage")};
            document.body.append(el);
            const end = figure.render({{ model: kit.modelOf({{ data: null }}), el }}), before = el.childElementCount;
            end();
            return [before, el.childElementCount]; }}"""
    )
    assert left[0] > 3 and left[1] == 0


def test_a_figure_that_fails_leaves_its_sentence(page: Page) -> None:
    modules(page, "host")
    text = page.evaluate(
        """() => { const el = document.getElementById("here");
            el.textContent = "a sentence";
            try { kit.host({ render({ el }) { el.replaceChildren(); throw Error("no"); } }, "here", {}); } catch {}
            return el.textContent; }"""
    )
    assert text == "a sentence"


def test_the_model_of_the_host_tells_of_changes(page: Page) -> None:
    modules(page, "host")
    heard = page.evaluate(
        """() => { const model = kit.modelOf({ x: 1 }), heard = [], f = () => heard.push(model.get("x"));
            model.on("change:x", f); model.set("x", 2); model.set("y", 3); model.save_changes();
            model.off("change:x", f); model.set("x", 4);
            return heard; }"""
    )
    assert heard == [2]


STATE = {"k": 3, "name": "a b&c", "on": False, "points": [[0.5, 1], [2, 3]]}


def test_a_state_goes_through_the_address(page: Page) -> None:
    modules(page, "figure")
    start = {"k": 1, "name": "", "on": True, "points": [], "same": 5}
    there = page.evaluate("([start, state]) => kit.toAddress('figure-1', start, state)",
                          [start, {**STATE, "same": 5}])  # fmt: skip
    assert there.startswith("#figure-1&") and "same" not in there
    assert page.evaluate("([s, h]) => kit.fromAddress('figure-1', s, h)", [start, there]) == STATE
    assert page.evaluate("([s, h]) => kit.fromAddress('figure-2', s, h)", [start, there]) is None
    wrong = "#figure-1&k=abc&points=[1&unknown=3&on=maybe"
    found = page.evaluate("([s, h]) => kit.fromAddress('figure-1', s, h)", [start, wrong])
    assert found == {"k": 1, "points": [], "on": False}


@pytest.mark.parametrize(
    ("page_is", "dark"),
    [
        ("html.dataset.theme = 'dark'", True),
        ("html.dataset.theme = 'light'; body.style.background = '#000'", False),
        ("html.setAttribute('theme', 'dark')", True),
        ("body.dataset.jpThemeLight = 'false'", True),
        ("body.dataset.jpThemeLight = 'true'; body.style.background = '#000'", False),
        ("body.className = 'vscode-dark'", True),
        ("body.className = 'vscode-high-contrast'", True),
        ("body.className = 'vscode-high-contrast-light'", False),
        ("body.style.background = '#222'", True),
        ("body.style.background = 'none'", False),
    ],
)
def test_dark_is_what_the_page_says(page: Page, page_is: str, dark: bool) -> None:
    modules(page, "theme")
    page.evaluate(
        f"() => {{ const html = document.documentElement, {{ body }} = document; {page_is}; }}"
    )
    assert page.evaluate("kit.isDark(document.getElementById('here'))") == dark


def test_a_figure_follows_when_the_page_turns_dark(page: Page) -> None:
    page.set_content(f"<body>{plots.figure('shrinkage', alt='Two plots.').data}")
    ink = "getComputedStyle(document.querySelector('.mlbook-figure')).color"
    light = page.evaluate(ink)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"{ink} !== {light!r}")


def draw(page: Page) -> None:
    modules(page, "pad", "figure", "host", "elements")
    page.evaluate(
        """() => { const el = document.getElementById("here");
            const fig = kit.figure(el, kit.modelOf({}), {}), bar = kit.make("div", {}, el);
            window.changes = 0;
            window.pad = kit.pad(fig, el, { label: "query", changed: () => { window.changes += 1; } });
            pad.buttons(bar, { rubber: true });
            fig.start(() => {}); }"""
    )


def picture(page: Page) -> list[list[float]]:
    flat = page.evaluate("[...pad.picture]")
    assert len(flat) == 28 * 28 and all(0 <= v <= 1 for v in flat)
    return [flat[28 * i : 28 * i + 28] for i in range(28)]


def test_a_stroke_is_a_thin_bright_line_and_can_be_taken_back(page: Page) -> None:
    draw(page)
    box = page.locator("canvas").bounding_box()
    assert box is not None
    unit = box["width"] / 28
    page.mouse.move(box["x"] + 6 * unit, box["y"] + 14.5 * unit)
    page.mouse.down()
    page.mouse.move(box["x"] + 22 * unit, box["y"] + 14.5 * unit, steps=6)
    page.mouse.up()
    drawn = picture(page)
    assert all(drawn[14][x] > 0.9 for x in range(8, 20)), "bright along the stroke"
    assert all(drawn[y][x] < 0.05 for y in (11, 18) for x in range(28)), "and dark beside it"
    assert 0.02 < drawn[13][14] < 0.6, "with a soft edge"
    assert page.evaluate("changes") > 3
    page.get_by_role("button", name="Rubber").click()
    page.mouse.click(box["x"] + 14 * unit, box["y"] + 14.5 * unit)
    assert picture(page)[14][14] < 0.1
    page.get_by_role("button", name="Undo").click()
    assert picture(page) == drawn
    page.get_by_role("button", name="Clear").click()
    assert sum(map(sum, picture(page))) == 0
    page.get_by_role("button", name="Undo").click()
    assert picture(page) == drawn


def test_the_pad_is_drawn_on_by_keys(page: Page) -> None:
    draw(page)
    pad = page.locator("canvas")
    pad.press("ArrowRight")
    assert sum(map(sum, picture(page))) == 0, "the pen is up"
    pad.press("Space")
    for _ in range(6):
        pad.press("ArrowDown")
    assert "pen down at 15, 20" in (pad.get_attribute("aria-label") or "")
    drawn = picture(page)
    assert all(max(drawn[y][14:16]) > 0.5 for y in range(14, 20))
    pad.press("Space")
    pad.press("ArrowLeft")
    assert picture(page) == drawn
    pad.press("Backspace")
    assert sum(map(sum, picture(page))) == 0


def test_a_picture_goes_through_two_bits(page: Page) -> None:
    modules(page, "ink")
    back = page.evaluate(
        """() => { const x = Uint8Array.from({ length: 784 }, (_, k) => 85 * (k % 4));
            return [[...x], [...kit.pictures(kit.pack(x), 28)[0]]]; }"""
    )
    assert back[0] == back[1]


def test_a_handle_is_moved_by_hand_and_by_keys_and_stays_inside(page: Page) -> None:
    modules(page, "plot", "figure", "host", "elements")
    page.evaluate(
        """() => { const el = document.getElementById("here"), fig = kit.figure(el, kit.modelOf({}), { at: [0, 0] });
            window.fig = fig;
            const p = kit.plot(fig, el, { x: [-2, 2], y: [-1, 1], ratio: 0.5, pad: [0, 0, 0, 0], framed: true });
            kit.handle(fig, p, { get: () => fig.state.at, set: (z) => { fig.state.at = p.inside(z); },
              label: (x, y) => `at ${x.toFixed(2)}, ${y.toFixed(2)}`, paint: () => {} });
            fig.start(() => {}); }"""
    )
    point = page.locator(".f-handle")
    point.press("ArrowRight")
    point.press("Shift+ArrowUp")
    assert page.evaluate("fig.state.at") == pytest.approx([0.1, 0.4])
    svg = page.locator("svg").bounding_box()
    assert svg is not None
    x, y = svg["x"] + svg["width"] * 0.525, svg["y"] + svg["height"] * 0.3
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + svg["width"], y, steps=4)
    page.mouse.up()
    at = page.evaluate("fig.state.at")
    assert math.isclose(at[0], 1.9) and math.isclose(at[1], 0.4, abs_tol=0.02)
    assert point.get_attribute("aria-label") == f"at {at[0]:.2f}, {at[1]:.2f}"


def playing(page: Page) -> None:
    modules(page, "controls", "figure", "host", "elements")
    page.evaluate(
        """() => { const el = document.getElementById("here"), fig = kit.figure(el, kit.modelOf({}), { t: 0 });
            window.fig = fig;
            kit.player(fig, el, 20, () => { fig.state.t += 1; return fig.state.t < 8; }, () => { fig.state.t = 0; });
            fig.start(() => {}); }"""
    )


def test_what_plays_ends_and_waits_while_nobody_can_see_it(page: Page) -> None:
    page.set_content("<body><div style='height: 3000px'></div><div id='here'></div>")
    playing(page)
    page.evaluate("document.querySelector('button').click()")
    page.wait_for_timeout(200)
    assert page.evaluate("fig.state.t") <= 2, "off the screen it waits"
    page.locator("#here").scroll_into_view_if_needed()
    page.wait_for_function("fig.state.t === 8")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.get_by_role("button", name="Play").click()
    page.evaluate("fig.destroy()")
    before = page.evaluate("fig.state.t")
    page.wait_for_timeout(100)
    assert page.evaluate("fig.state.t") == before, "nothing goes on after the figure"


def test_who_wants_no_motion_sees_the_end(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    playing(page)
    page.get_by_role("button", name="Play").click()
    assert page.evaluate("fig.state.t") == 8


def test_controls_are_worked_by_keys_and_say_what_they_stand_at(page: Page) -> None:
    modules(page, "controls", "figure", "host", "elements")
    page.evaluate(
        """() => { const el = document.getElementById("here"), start = { rate: 0.1, k: 2, way: "b" };
            const fig = window.fig = kit.figure(el, kit.modelOf({}), start), show = (v) => v.toPrecision(2);
            kit.slider(fig, el, "rate <i>α</i>", "rate", { min: -3, max: 0, step: 0.5, log: true, show });
            kit.choice(fig, el, "ways", [["a", "one"], ["b", "two"], ["c", "three"]], "way");
            kit.stepper(fig, el, "shots", "shot", "k", 1, 3);
            fig.start(() => {}); }"""
    )
    slider = page.get_by_role("slider", name="rate α")
    assert slider.input_value() == "-1" and slider.get_attribute("aria-valuetext") == "0.10"
    slider.press("ArrowRight")
    assert page.evaluate("fig.state.rate") == pytest.approx(10**-0.5)
    two, three = (page.get_by_role("button", name=name) for name in ("two", "three"))
    assert two.get_attribute("aria-pressed") == "true"
    two.press("ArrowRight")
    expect(three).to_be_focused()
    assert page.evaluate("fig.state.way") == "c"
    three.press("ArrowDown")
    assert page.evaluate("fig.state.way") == "a", "they go round"
    more = page.get_by_role("button", name="one shot more")
    more.press("Enter")
    assert page.evaluate("fig.state.k") == 3 and more.is_disabled()


def test_a_finger_draws_and_moves_what_a_mouse_does(browser: Browser) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.set_content("<body style='background: white'><div id='here'></div>")
    draw(page)
    pad = page.locator("canvas").bounding_box()
    assert pad is not None
    page.touchscreen.tap(pad["x"] + pad["width"] / 2, pad["y"] + pad["height"] / 2)
    assert max(map(max, picture(page))) > 0.5, "a dot"
    page.set_content(f"<body>{plots.figure('prototypes', alt='A plane.').data}")
    query, plane = page.get_by_label("query point"), page.locator(".f-framed").bounding_box()
    before = query.get_attribute("aria-label")
    assert plane is not None
    page.touchscreen.tap(plane["x"] + 20, plane["y"] + 30)
    assert query.get_attribute("aria-label") != before
    assert query.evaluate("e => getComputedStyle(e).touchAction") == "none", (
        "a drag does not scroll"
    )
    context.close()
