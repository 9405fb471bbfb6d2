from __future__ import annotations

import json
import re

import pytest
import torch

from mlbook import plots
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
