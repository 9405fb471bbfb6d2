"""`python -m mlbook fit|predict|evaluate`, as a shell runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlbook import load
from mlbook.__main__ import main, wilson
from mlbook.backbones import backbone
from mlbook.classifier import FewShotClassifier


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of drawn characters, dark on white, in uneven numbers: 5, 4 and 3."""
    monkeypatch.chdir(tmp_path)
    for k, (name, c) in enumerate([("a", 5), ("b", 130), ("c", 300)]):
        place = tmp_path / "letters" / name
        place.mkdir(parents=True)
        for i, picture in enumerate(load("glyphs").images[c, : 5 - k, 0].numpy()):
            Image.fromarray(255 - picture).resize((60, 70)).save(place / f"{i}.png")
    return Path("letters")


def test_two_lines_of_shell(letters: Path) -> None:
    """Spoken to as by a shell, with the exit status that it sees."""
    shell = [sys.executable, "-m", "mlbook"]
    fit = [*shell, "fit", "letters", "--with", "prototypical"]
    run = subprocess.run(fit, capture_output=True, text=True)
    assert "3 classes from 12 pictures are in letters.safetensors" in run.stdout, run.stderr
    predict = [*shell, "predict", "letters.safetensors", "nobody.png"]
    run = subprocess.run(predict, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("error: nobody.png cannot be read as a picture")
    assert len(run.stderr.splitlines()) == 1


def test_fit_and_predict_say_what_the_classifier_says(
    letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "letters", "-o", "own.safetensors", "--with", "prototypical", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["classes"] == {"a": 5, "b": 4, "c": 3}
    clf = FewShotClassifier.load("own.safetensors")
    asked = ["letters/b/3.png", "letters/c/0.png"]
    p = clf.predict_proba(asked)
    main(["predict", "own.safetensors", *asked, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [f["picture"] for f in found] == asked
    assert [f["label"] for f in found] == ["b", "c"]
    assert [list(f["probabilities"].values()) for f in found] == p.tolist()
    main(["predict", "own.safetensors", *asked])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"letters/b/3.png\tb\t{p[0, 1]:.1%}"
    clf.calibrate(load("glyphs").subset(range(40, 60)), unknown=0.9, episodes=6)
    clf.save("own.safetensors")
    strange = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8))
    strange.save("strange.png")
    main(["predict", "own.safetensors", "strange.png", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["label"] is None
    main(["predict", "own.safetensors", "strange.png"])
    assert "none of these" in capsys.readouterr().out


def test_evaluate_leaves_each_picture_out(
    letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in (1, 2):
        (letters / "c" / f"{i}.png").unlink()  # one is left, which is not asked
    main(["evaluate", "letters", "--with", "prototypical", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["asked"] == 9
    assert said["methods"]["the commonest class"]["accuracy"] == pytest.approx(5 / 9)
    main(["evaluate", "letters", "--with", "prototypical"])
    assert "not asked, with one picture alone: c" in capsys.readouterr().out


def test_leaving_one_out_is_fitting_the_others_each_time() -> None:
    x = np.random.default_rng(0).normal(size=(12, 4)) + np.eye(4)[np.arange(12) % 3]
    y = [*"abc"] * 4
    clf = FewShotClassifier().fit(x[:, :2], y)
    before = clf.predict_proba(x[:, :2])
    expected = []
    for i in range(12):
        others = [j for j in range(12) if j != i]
        one = FewShotClassifier().fit(x[others], [y[j] for j in others])
        expected.append(one.predict(x[[i]])[0] == y[i])
    assert clf.leave_one_out(x, y) == expected
    assert len({*expected}) == 2
    assert np.array_equal(clf.predict_proba(x[:, :2]), before), "what was learned stays"


def test_a_backbone_is_the_default_and_comes_back_by_its_name(
    letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "letters", "--json"])
    assert json.loads(capsys.readouterr().out)["with"] == "efficientnet_lite0"
    assert Path("letters.safetensors").stat().st_size < 200_000, "features, and no weights"
    main(["predict", "letters.safetensors", "letters/a/0.png", "--json"])
    found = json.loads(capsys.readouterr().out)
    files = sorted(letters.glob("*/*.png"))
    clf = FewShotClassifier(embed=backbone("efficientnet_lite0"))
    clf.fit(files, [file.parent.name for file in files])
    p = clf.predict_proba(["letters/a/0.png"])[0]
    assert [*found[0]["probabilities"].values()] == pytest.approx(p.tolist())


def test_the_interval_of_a_share() -> None:
    p, low, high = wilson(5, 10)
    assert (p, low, high) == pytest.approx((0.5, 0.2366, 0.7634), abs=1e-4)  # as in tables
    assert wilson(10, 10)[2] == 1
    assert wilson(0, 10)[1] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "nowhere"], "nowhere is not a folder"),
        (["fit", "letters/a"], "at least two folders"),
        (["fit", "letters", "--with", "bandit_agent"], "no adapt"),
        (["evaluate", "letters", "--with", "nobodys_net"], "backbone('nobodys_net')"),
        (["predict", "letters/a/0.png", "letters/a/0.png"], "not a file of mlbook"),
    ],
)
def test_mistakes_are_one_line(letters: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert str(error.value).startswith("error: ")
    assert said in str(error.value)
    assert not list(Path().glob("*.safetensors")), "nothing half-written"
