"""Progress is text in a terminal, a widget in a notebook that has them, and nothing where it would be stored."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from tqdm import tqdm

from mlbook.lab import watching
from mlbook.progress import in_kernel, progress_bar


def test_in_a_terminal_it_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=3, desc="three", mininterval=0) as bar:
        assert type(bar) is tqdm
        bar.update(3)
    assert "three: 100%|" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "shown"), [("1", False), ("0", True), ("", True)])
def test_tqdms_own_variable_switches_it_off(
    value: str, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", value)
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert bool(capsys.readouterr().err) == shown


def test_a_bar_that_is_not_wanted_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=3, disable=True) as bar:
        bar.set_postfix_str("loss", refresh=False)
        bar.update(3)
    assert not any(capsys.readouterr())


class Kernel:
    """What a notebook's shell has and a terminal's has not."""

    kernel = object()


@pytest.mark.parametrize(
    ("shell", "widgets", "kind"),
    [
        (Kernel(), True, "widget"),
        (Kernel(), False, "text"),
        (object(), True, "text"),
        (None, True, "text"),
    ],
)
def test_a_widget_where_there_is_a_kernel_with_ipywidgets(
    shell: Any, widgets: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    found = types.SimpleNamespace(name="ipywidgets") if widgets else None
    monkeypatch.setattr("mlbook.progress.find_spec", lambda name: found)
    notebook = types.ModuleType("tqdm.notebook")
    notebook.tqdm = lambda **options: "widget"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm.notebook", notebook)
    bar = progress_bar(total=3, leave=False)
    assert (bar if kind == "widget" else "text") == kind
    if kind == "text":
        bar.close()


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        (Kernel(), True),
        (object(), False),
        (types.SimpleNamespace(kernel=None), False),
        (None, False),
    ],
)
def test_training_is_watched_where_a_bar_would_be_a_widget(
    shell: Any, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("anywidget")
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert in_kernel() == watching._in_notebook() == expected
    monkeypatch.setitem(sys.modules, "anywidget", None)
    assert not watching._in_notebook()
