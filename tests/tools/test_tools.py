"""The tools that the Makefile calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import browser, notebooks, repository

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "https://github.com/mlbook-authors/mlbook", "https://github.com/Someone-Else/meta.book"


def stream(name: str, text: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


SCRIPTS = [
    p
    for p in sorted(Path(notebooks.__file__).parent.glob("*.py"))
    if "argparse" in p.read_text("utf-8")
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_a_script_is_started_from_anywhere(script: Path, tmp_path: Path) -> None:
    """`python tools/X.py` finds the folder of X on its path, and neither the root of the project nor a test's path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, str(script), "--help"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "usage" in run.stdout


def test_a_progress_bar_keeps_its_last_state() -> None:
    assert notebooks.last_states("\r  0%\r 50%\r100%\nnext\n") == "100%\nnext\n"
    assert notebooks.last_states("\r  0%\r100%\r") == "100%"
    assert notebooks.last_states("one\r\ntwo\r\n") == "one\ntwo\n"
    assert notebooks.last_states("") == ""


def test_interleaved_streams_are_merged_and_pictures_keep_their_place() -> None:
    picture = nbformat.v4.new_output("display_data", data={"text/plain": "p"})
    outputs = [
        stream("stderr", "\r10%"),
        stream("stdout", "a\n"),
        stream("stderr", "\r90%\n"),
        stream("stdout", "b\n"),
        picture,
        stream("stdout", "c\n"),
    ]
    merged = notebooks.merge_streams(outputs)
    assert [o.get("text", "picture") for o in merged] == ["90%\n", "a\nb\n", "picture", "c\n"]


WIDGET = "application/vnd.jupyter.widget-view+json"


def test_of_progress_nothing_is_stored_and_of_warnings_everything() -> None:
    bar = "100%|##########| 400/400 [02:23<00:00,  2.78it/s, loss 0.331, 2.8 episodes/s]\n"
    unknown, download = (
        "12it [00:03,  3.9it/s]\n",
        "a.zip:  50%|#####     | 1.2M/2.4M [00:01<00:01, 1.2MB/s]\n",
    )
    view = {WIDGET: {"model_id": "1"}, "text/plain": "  0%|          | 0/400 [00:00<?, ?it/s]"}
    lab = {WIDGET: {"model_id": "2"}, "text/plain": "Lab(models=3)"}
    said = "UserWarning: 5% of 20 it is 1 [1]\n"
    cell = nbformat.v4.new_code_cell(
        outputs=[
            stream("stderr", bar + said + unknown),
            nbformat.v4.new_output("display_data", data=view),
            stream("stdout", "90% of it\n"),
            stream("stderr", download),
            nbformat.v4.new_output("display_data", data=lab),
        ]
    )
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"a": "state"}})
    notebooks.tidy(notebook)
    kept = {"text/plain": "Lab(models=3)"}  # a widget itself ends with its kernel
    assert [o.get("text", o.get("data")) for o in cell.outputs] == [said, "90% of it\n", kept]
    assert notebook.metadata == notebooks.METADATA


def test_pictures_carry_the_alternative_text_of_their_cell() -> None:
    cell = nbformat.v4.new_code_cell(
        metadata={"mystnb": {"image": {"alt": "A line that rises."}}},
        outputs=[
            nbformat.v4.new_output(
                "display_data",
                data={"image/png": "AAAA", "text/plain": "<Figure>"},
                metadata={"image/png": {"width": 7}},
            ),
            stream("stdout", "said\n"),
        ],
    )
    notebooks.tidy(nbformat.v4.new_notebook(cells=[cell]))
    assert cell.outputs[0].metadata == {"image/png": {"width": 7, "alt": "A line that rises."}}


def new_notebook(path: Path, *sources: str) -> bytes:
    cells = [nbformat.v4.new_code_cell(s) for s in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path.read_bytes()


def test_a_notebook_is_stored_as_run_and_twice_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    new_notebook(path, "import sys\nprint(sys.prefix)", "x = 1", "x + 1")
    notebooks.run(path)
    first = path.read_bytes()
    stored = nbformat.read(path, as_version=4)
    assert [c.execution_count for c in stored.cells] == [1, 2, 3]
    assert stored.cells[0].outputs[0].text == f"{sys.prefix}\n"  # this environment's kernel
    assert stored.cells[2].outputs[0].data["text/plain"] == "2"
    assert stored.metadata == notebooks.METADATA
    assert all(not c.metadata for c in stored.cells)
    notebooks.run(path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]


TRAINS = """from mlbook.progress import progress_bar
for i in progress_bar(range(3), desc="three"):
    pass
print("done")"""


@pytest.mark.parametrize("widgets", [True, False])
def test_a_bar_is_stored_nowhere_and_missed_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widgets: bool
) -> None:
    """Whether the kernel has ipywidgets or not: the same is stored, and nbval finds it again."""
    hide = "" if widgets else "import sys\nsys.modules['ipywidgets'] = None\n"
    path = tmp_path / "a.ipynb"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    new_notebook(path, hide + TRAINS)
    notebooks.run(path)
    (cell,) = nbformat.read(path, as_version=4).cells
    assert [dict(output) for output in cell.outputs] == [
        {"output_type": "stream", "name": "stdout", "text": "done\n"}
    ]
    check = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", str(ROOT / "pyproject.toml")]
    check += ["--nbval", "--nbval-current-env", "-q", str(path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "TQDM_"))}
    run = subprocess.run(check, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert run.returncode == 0 and "1 passed" in run.stdout, run.stdout + run.stderr


def test_a_notebook_that_fails_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ipynb"
    before = new_notebook(path, "print(1)", "1 / 0")
    monkeypatch.setattr(sys, "argv", ["notebooks.py", str(path)])
    assert notebooks.main() == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package named mlbook, installed where no checkout is."""
    package = tmp_path / "site" / "mlbook" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("answer = 42\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent.parent))
    return package


DRAW = "from IPython.display import HTML, display\ndisplay(HTML('<svg></svg>'))"


def test_alone_is_the_installed_package_and_an_empty_folder(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ipynb"
    new_notebook(path, "import mlbook\nmlbook.answer", "from pathlib import Path", "1 + 1", DRAW)
    notebooks.run(path)
    stored = path.read_bytes()
    assert notebooks.run_alone(path, before="ahead = 1") > 0
    assert path.read_bytes() == stored
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(notebooks.NotAloneError, match="that of the checkout: install the wheel"):
        new_notebook(path, "1")
        notebooks.run_alone(path)


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        ("print('here')", "cell 1 shows nothing, stored: {'text': 1}"),
        (DRAW, "cell 1 shows nothing, stored: {'figure': 1}"),
        (f"{DRAW}\nprint(1)", "cell 1 shows nothing, stored: {'figure': 1, 'text': 1}"),
    ],
)
def test_a_cell_that_needs_a_checkout_is_found(
    tmp_path: Path, installed: Path, source: str, lacks: str
) -> None:
    """It reads a file beside it, as a notebook in a checkout can, and says nothing where there is none."""
    path = tmp_path / "a.ipynb"
    lines = source.replace("\n", "\n    ")
    needs = f"from pathlib import Path\nif list(Path('.').iterdir()):\n    {lines}"
    new_notebook(path, needs)
    notebooks.run(path)
    with pytest.raises(notebooks.NotAloneError, match=re.escape(lacks)):
        notebooks.run_alone(path)


def test_a_missing_figure_beside_another_is_found_and_a_progress_bar_is_nothing() -> None:
    figure = nbformat.v4.new_output("display_data", data={"image/png": "AAAA"})
    bar, said = stream("stderr", "100%"), stream("stdout", "so it is")

    def cell(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
        return nbformat.v4.new_code_cell("", execution_count=3, outputs=list(outputs))

    assert notebooks.missing([cell(figure, figure, said)], [cell(figure, said)]) == [
        "cell 3 shows {'figure': 1, 'text': 1}, stored: {'figure': 2, 'text': 1}"
    ]
    assert notebooks.missing([cell(bar), cell(figure)], [cell(), cell(said, figure)]) == []
    assert notebooks.missing([cell(said)], [cell(bar)]) == [
        "cell 3 shows nothing, stored: {'text': 1}"
    ]


def test_alone_stores_nothing_and_so_goes_with_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["notebooks.py", "--alone", "a.ipynb"])
    with pytest.raises(SystemExit):
        notebooks.main()
    assert "--alone goes with --check" in capsys.readouterr().err


def test_the_address_is_carried_everywhere_and_nowhere_else() -> None:
    text = (
        f"{OLD} {OLD}/issues {OLD}.git git+{OLD}@v0.1.0 "
        "https://colab.research.google.com/github/mlbook-authors/mlbook/blob/main/a.ipynb "
        "https://mlbook-authors.github.io/mlbook/ https://mlbook-authors.github.io/mlbook/a.html "
        f"{OLD}-extras https://github.com/other/mlbook"
    )
    assert repository.carry(text, OLD, NEW, "0.2.0") == (
        f"{NEW} {NEW}/issues {NEW}.git git+{NEW}@v0.2.0 "
        "https://colab.research.google.com/github/Someone-Else/meta.book/blob/main/a.ipynb "
        "https://someone-else.github.io/meta.book/ https://someone-else.github.io/meta.book/a.html "
        f"{OLD}-extras https://github.com/other/mlbook"
    )
    assert repository.carry(text, OLD, OLD, "0.1.0") == text


@pytest.mark.parametrize("url", ["", "mlbook", "http://github.com/a/b", "https://github.com/a"])
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="OWNER/NAME"):
        repository.slug(url)


def test_carry_there_and_back_gives_every_file_as_it_was() -> None:
    number = repository.version()
    for path in repository.files():
        text = path.read_text(encoding="utf-8")
        if path == Path(__file__):
            continue
        there = repository.carry(text, OLD, NEW, number)
        assert repository.carry(there, NEW, OLD, number) == text, path


def test_a_missing_browser_is_said_and_in_ci_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(browser, "installed", lambda: None)
    monkeypatch.setattr(browser, "install", lambda: False)
    monkeypatch.delenv("CI", raising=False)
    assert browser.main() == 0
    assert "SKIPPED" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert browser.main() == 1
    assert "error" in capsys.readouterr().err


def test_offline_means_no_network_and_a_loopback_that_works() -> None:
    probe = (
        "import socket, urllib.request\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(s.getsockname(), timeout=5)\n"
        "try: urllib.request.urlopen('https://example.org', timeout=5)\n"
        "except OSError: print('offline')\n"
    )
    command = [sys.executable, str(ROOT / "tools" / "offline.py"), sys.executable, "-c", probe]
    run = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert run.stdout == "offline\n", run.stderr
    assert run.stderr.startswith("Network: ")
