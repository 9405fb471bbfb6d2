from __future__ import annotations

import json
import re
import subprocess
import sys
from io import BytesIO
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import pytest
import torch

from mlbook import Episode, plots
from mlbook.data import sinusoids
from tests.test_episodes import numbered


def contrast(a: str, b: str) -> float:
    """The contrast ratio of WCAG between two colours."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_words_are_legible_on_paper() -> None:
    for name in ("ink", "blue", "grey"):
        assert contrast(plots.COLORS[name], "#ffffff") >= 4.5, name
    assert plots.class_color(0) == plots.class_color(7) != plots.class_color(1)


def test_a_stored_figure_is_ink_on_white_paper_in_few_colours() -> None:
    """Against what matplotlib draws: nowhere far from it, paper exactly white, a small dot in its own colour."""
    import matplotlib.pyplot as plt
    from PIL import Image

    with plt.rc_context():
        plots.use_style()
        figure, ax = plt.subplots(figsize=(4, 3))
        ax.plot([0, 1], [0, 1], "o", markersize=3, color=plots.COLORS["pink"])
        ax.imshow(torch.rand(8, 8, 3).numpy(), extent=(0.2, 0.8, 0.2, 0.8))
        ax.set(title="words", xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
        stored = plots._png(figure)
        assert stored is not None
        drawn = BytesIO()
        figure.savefig(drawn, dpi=2 * figure.dpi, bbox_inches="tight")
        assert plots._png(plt.figure()) is None, "nothing is drawn, nothing is shown"
        plt.close("all")
    picture = Image.open(BytesIO(stored[0]))
    assert picture.mode == "P"
    assert stored[1] == {"width": picture.width // 2, "height": picture.height // 2}
    whole = Image.open(drawn).convert("RGB")
    assert abs(picture.width - whole.width) <= 2
    small, _ = plots._small(whole)
    ours, theirs = (np.asarray(p.convert("RGB"), int) for p in (Image.open(BytesIO(small)), whole))
    assert np.abs(ours - theirs).max() <= 16
    assert (ours[theirs.min(-1) == 255] == 255).all(), "paper is white"
    assert len(small) < 0.6 * len(drawn.getvalue())


def test_notebooks_show_png_whatever_is_imported_first() -> None:
    """In a shell such as a kernel has: the formatter stays when matplotlib sets up its own."""
    code = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import matplotlib
matplotlib.use("module://matplotlib_inline.backend_inline")
from mlbook import plots
plots.use_style()
import matplotlib.pyplot as plt
figure, ax = plt.subplots()
ax.plot([1, 2])
data, about = shell.display_formatter.format(figure)
print(sorted(data), sorted(about["image/png"]))
plt.close()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['image/png', 'text/plain'] ['height', 'width']"


def test_pictures_become_ink_on_nothing() -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    pictures = torch.rand(5, 1, 4, 6)
    plots.show_images(ax, pictures, columns=3, gap=1)
    sheet = ax.images[0].get_array()
    assert sheet.shape == (9, 20, 4)
    assert torch.allclose(torch.as_tensor(sheet[5:9, 7:13, 3]), pictures[4, 0])
    assert (sheet[5:9, 14:, 3] == 0).all(), "where there is no picture the page shows through"
    plt.close(figure)


def test_an_episode_is_drawn_with_every_label() -> None:
    episode = numbered(side=28).episodes(ways=3, shots=2, queries=2)[0]
    figure = plots.show_episode(episode)
    left, right = figure.axes[:2]
    assert [t.get_text() for t in left.texts] == ["0", "1", "2"]
    assert [int(t.get_text()) for t in right.texts] == episode.query_y[0].tolist()


def test_an_interactive_figure_carries_script_data_and_words() -> None:
    html = plots.figure("prototypes", alt='a "moving" picture', data={"x": "</script>"}).data
    assert 'aria-label="a &quot;moving&quot; picture"' in html
    assert html.count("</script>") == 1, "data cannot end the script"
    assert json.loads(re.search(r"const data = (\{.*?\});", html)[1]) == {"x": "</script>"}  # type: ignore[index]
    assert (
        html == plots.figure("prototypes", alt='a "moving" picture', data={"x": "</script>"}).data
    )
    assert not re.search(r"https?://(?!www\.w3\.org)", html), "nothing is fetched"
    with pytest.raises(ValueError, match=r"there is no figure 'nosuch'; there are .*prototypes"):
        plots.figure("nosuch", alt="nothing")


@pytest.mark.parametrize(
    "text",
    [
        "<!--<script>",
        "</script>",
        "a < b && c > d",
        "<\u2028>\u2029",
        "<\\/script>",
        "\\u003c",
        "ä🙂",
    ],
)
def test_text_of_every_kind_reaches_the_figure_and_not_the_page(text: str) -> None:
    data = {text: [text, {"x": text}], "n": [1, 2.5, None, True]}
    html = plots.figure("prototypes", alt="words", data=data).data
    payload = re.search(r"const data = (.*);\n/", html)[1]  # type: ignore[index]
    assert json.loads(payload) == data
    assert payload.isascii() and not set(payload) & set("<>&")
    own = plots.figure("prototypes", alt="words").data
    assert html.count("<") == own.count("<") and html.count("<!--") == 0


def test_the_output_of_a_figure_with_plain_data_is_what_notebooks_have_stored() -> None:
    data = {"a": [1, 2.5], "b": "plain"}
    html = plots.figure("prototypes", alt="words", data=data).data
    assert 'const data = {"a":[1,2.5],"b":"plain"};' in html
    ident = uuid5(NAMESPACE_URL, 'prototypes{"a":[1,2.5],"b":"plain"}').hex[:8]
    assert html.startswith(f'<div class="mlbook-figure" id="figure-{ident}" role="group"')
    slashed = uuid5(NAMESPACE_URL, 'prototypes"<\\/b>"').hex[:8]
    assert f"figure-{slashed}" in plots.figure("prototypes", alt="words", data="</b>").data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"x": [1.0, float("nan")]}, r"data\['x'\]\[1\] is nan; leave it out, or give None"),
        ([[float("inf")]], r"data\[0\]\[0\] is inf"),
        (-float("inf"), "data is -inf"),
        ({"x": torch.zeros(2)}, r"data\['x'\] is a Tensor; .*\.tolist\(\)"),
        ({"x": np.float32(1)}, r"data\['x'\] is a float32; .*\.tolist\(\)"),
        ({(1, 2): 3}, r"data has the key \(1, 2\); give a string"),
        ({1, 2}, "data is a set"),
    ],
)
def test_what_json_cannot_say_is_named_where_it_stands(data: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plots.figure("prototypes", alt="words", data=data)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (84, 84), (20, 50), (60, 16)])
def test_labels_stand_at_their_pictures_whatever_their_size(
    channels: int, height: int, width: int
) -> None:
    """Classes of 1, 3 and 2 shots; each picture has the strength of its label, so that the sheet can be read."""
    sy, qy = torch.tensor([[2, 0, 1, 1, 2, 1]]), torch.tensor([[1, 0, 2, 2]])
    sx, qx = (
        ((y + 1) / 4)[..., None, None, None].expand(*y.shape, channels, height, width)
        for y in (sy, qy)
    )
    figure = plots.show_episode(Episode(sx, sy, qx, qy), columns=3)
    left, right = figure.axes[:2]
    sheets = [ax.images[0].get_array() for ax in (left, right)]
    gap = max(2, max(height, width) // 14)
    wide = 3 * (width + gap) - gap
    assert sheets[0].shape == (3 * (height + gap) - gap, wide, 4)
    assert sheets[1].shape == (2 * (height + gap) - gap, wide, 4)
    value = 3 if channels == 1 else 0
    for sheet in sheets:
        opaque = sheet[..., 3] > 0
        assert opaque.sum() == (6 if sheet is sheets[0] else 4) * height * width
    for k, text in enumerate(left.texts):
        (x, y), label = text.get_position(), int(text.get_text())
        assert label == k and -width < x < 0
        row = sheets[0][round(y)]  # the line of pixels beside the label
        shots = [row[(width + gap) * i + width // 2] for i in range(3)]
        assert [float(s[value]) for s in shots if s[3] > 0] == [(k + 1) / 4] * [1, 3, 2][k]
    for i, text in enumerate(right.texts):
        x, y = text.get_position()
        label = int(text.get_text())
        assert label == qy[0, i]
        assert x == i % 3 * (width + gap), "at the left edge of its picture"
        top = i // 3 * (height + gap)
        assert top <= y < top + height / 2
        assert float(sheets[1][round(y), int(x), value]) == (label + 1) / 4


def test_at_28_pixels_everything_is_where_it_was() -> None:
    episode = numbered(side=28).episodes(ways=3, shots=2, queries=2, tasks=2)[0]
    figure = plots.show_episode(episode, task=1)
    left, right = figure.axes[:2]
    assert [t.get_position() for t in left.texts] == [(-6, 30 * k + 14) for k in range(3)]
    places = [divmod(i, 3) for i in range(6)]
    assert [t.get_position() for t in right.texts] == [(30 * c, 30 * r + 3) for r, c in places]
    by_class = episode.support_x[1][episode.support_y[1].argsort(stable=True)]
    sheet = torch.as_tensor(left.images[0].get_array())[..., 3]
    for i, picture in enumerate(by_class):
        r, c = divmod(i, 2)
        assert torch.equal(sheet[30 * r : 30 * r + 28, 30 * c : 30 * c + 28], picture[0])


@pytest.mark.parametrize(
    ("channels", "height", "width", "ways", "shots", "queries"),
    [
        (3, 84, 84, 5, 1, 3),
        (1, 28, 28, 5, 5, 15),
        (3, 20, 60, 5, 5, 4),
        (3, 224, 224, 3, 2, 2),
        (4, 64, 48, 3, 2, 4),
        (1, 28, 28, 3, 24, 6),  # more shots than fit into a row
        (3, 84, 84, 1, 3, 4),
        (1, 28, 28, 20, 1, 1),
        (1, 60, 20, 3, 5, 3),
    ],
)
def test_labels_are_readable_and_on_their_own_pictures(
    channels: int, height: int, width: int, ways: int, shots: int, queries: int
) -> None:
    """As laid out: where each label is drawn is measured, and the picture under it is told by its strength."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    y = [torch.arange(ways).repeat_interleave(n)[None] for n in (shots, queries)]
    x = [
        ((t + 1) / (ways + 1))[..., None, None, None].expand(*t.shape, channels, height, width)
        for t in y
    ]
    figure = plots.show_episode(Episode(x[0], y[0], x[1], y[1]))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    assert figure.get_figwidth() == 7
    for ax in figure.axes:
        sheet, boxes = np.asarray(ax.images[0].get_array()), []
        value = 3 if channels == 1 else 0
        for text in ax.texts:
            drawn = text.get_window_extent(renderer)
            assert text.get_fontsize() >= 7
            boxes.append(drawn)
            box = drawn.transformed(ax.transData.inverted())
            row = min(max(round((box.y0 + box.y1) / 2), 0), len(sheet) - 1)
            column = max(
                round((box.x0 + box.x1) / 2), 0
            )  # a class stands left of its first picture
            assert sheet[row, column, value] == pytest.approx(
                (int(text.get_text()) + 1) / (ways + 1)
            )
            if ax is figure.axes[1]:
                assert box.width < width, "wider than its picture"
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i]), "labels cover each other"
        assert len(boxes) == (ways if ax is figure.axes[0] else ways * queries)


def test_an_episode_without_queries_is_its_support_set() -> None:
    y = torch.arange(3)[None]
    nothing = torch.zeros(1, 0, 3, 8, 8)
    figure = plots.show_episode(Episode(torch.rand(1, 3, 3, 8, 8), y, nothing, y[:, :0]))
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes] == ["support"]


@pytest.mark.parametrize("kind", ["floats", "bytes"])
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 84), (4, 224)])
def test_pictures_at_points_are_of_the_size_and_the_class_that_is_asked(
    channels: int, side: int, kind: str
) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_hex
    from matplotlib.offsetbox import AnnotationBbox

    pictures = torch.rand(2, channels, side, side)
    given = (255 * pictures).byte() if kind == "bytes" else pictures
    figure, ax = plt.subplots(dpi=72)
    plots.scatter_images(
        ax, torch.tensor([[0.2, 0.3], [0.7, 0.6]]), given, torch.tensor([1, 0]), 24
    )
    figure.canvas.draw()
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [artist for artist in ax.artists if isinstance(artist, AnnotationBbox)]
    for box, at, label in zip(boxes, [(0.2, 0.3), (0.7, 0.6)], (1, 0), strict=True):
        extent = box.offsetbox.get_window_extent(renderer)
        assert extent.width == pytest.approx(24, abs=1.5)
        middle = ax.transData.inverted().transform(
            ((extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2)
        )
        assert middle == pytest.approx(at, abs=0.01)
        colors = np.asarray(box.offsetbox.get_data())  # type: ignore[attr-defined]
        if channels == 1:
            assert to_hex(colors[0, 0, :3]).lower() == plots.class_color(label).lower()
            assert np.allclose(colors[..., 3], pictures[1 - label, 0], atol=1 / 250)
        else:
            assert to_hex(box.patch.get_edgecolor()).lower() == plots.class_color(label).lower()
            assert np.allclose(
                colors[..., :3], pictures[1 - label, :3].permute(1, 2, 0), atol=1 / 250
            )
    plt.close(figure)


def test_what_cannot_be_drawn_is_named() -> None:
    import matplotlib.pyplot as plt

    episode = numbered(side=28).episodes(ways=3, shots=2, queries=0)[0]
    assert [t.get_text() for t in plots.show_episode(episode).axes[0].texts] == ["0", "1", "2"]
    with pytest.raises(ValueError, match=r"task=1: the tasks are numbered 0\.\.0"):
        plots.show_episode(episode, task=1)
    with pytest.raises(ValueError, match="columns=0"):
        plots.show_episode(episode, columns=0)
    for bad in (
        episode._replace(support_x=torch.zeros(1, 6, 5), query_x=torch.zeros(1, 0, 5)),
        sinusoids()[0],
    ):
        with pytest.raises(ValueError, match=r"only pictures \[T, S, C, H, W\]"):
            plots.show_episode(bad)
    figure, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"C of 1, 3 or 4, and these are \[2, 2, 4, 4\]"):
        plots.show_images(ax, torch.zeros(2, 2, 4, 4), columns=2)
    plt.close(figure)
