"""`python -m mlbook fit|predict|evaluate`, as a shell runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mlbook
from mlbook import evaluate, load, load_pretrained
from mlbook.__main__ import main, wilson
from mlbook.backbones import Backbone, backbone
from mlbook.classifier import FewShotClassifier
from mlbook.data.table import sentences_of

PROTO = ["--with", "prototypical"]


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


def other_letters(place: Path, rows: list[int], n: int = 8) -> Path:
    """Drawn characters of these classes of the glyphs, in folders of their own."""
    for k, c in enumerate(rows):
        (place / f"class {k}").mkdir(parents=True)
        for i, picture in enumerate(load("glyphs").images[c, : n + k, 0].numpy()):
            Image.fromarray(255 - picture).save(place / f"class {k}" / f"{i}.png")
    return place


def test_calibrated_on_a_folder_of_others_it_answers_none_of_these(
    letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = other_letters(Path("others"), [40, 55, 70, 160, 220, 260])
    (others / "class 0").rename(others / "A")  # as one that is learned, but for its case
    fit = ["fit", "letters", "--with", "prototypical", "--calibrate", "others", "--unknown", "0.5"]
    main([*fit, "--json"])
    said = json.loads(capsys.readouterr().out)["calibration"]
    assert (said["classes"], said["left_out"], said["unknown"]) == (5, ["A"], 0.5)
    clf = FewShotClassifier.load("letters.safetensors")
    found = clf.calibration_
    assert found is not None
    assert said["threshold"] == found.threshold
    files = sorted(p for p in others.glob("*/*.png") if p.parent.name != "A")
    again = FewShotClassifier(clf.model).fit(*pictures_and_labels(letters))
    assert again.calibrate(again.dataset(files, [p.parent.name for p in files]), 0.5) == found
    main(fit)
    out = capsys.readouterr().out
    assert f"'none of these' to {found.caught:.0%} of strangers" in out
    assert "left out there, since they are learned here: A" in out
    known, strange = [str(p) for p in letters.glob("*/*.png")], [str(p) for p in files]
    main(["predict", "letters.safetensors", *known, *strange, "--json"])
    labels = [f["label"] for f in json.loads(capsys.readouterr().out)]
    of_known, of_strange = labels[: len(known)], labels[len(known) :]
    assert of_strange.count(None) / len(strange) > 0.6 > of_known.count(None) / len(known)


def pictures_and_labels(folder: Path) -> tuple[list[Path], list[str]]:
    files = sorted(folder.glob("*/*.png"))
    return files, [file.parent.name for file in files]


def test_calibrated_on_a_set_by_its_name(letters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "letters", "--with", "prototypical", "--calibrate", "glyphs", "--json"])
    said = json.loads(capsys.readouterr().out)["calibration"]
    assert said["classes"] == len(load("glyphs"))
    assert said["threshold"] is None, "JSON has no infinity"
    clf = FewShotClassifier.load("letters.safetensors")
    assert clf.temperature_ == said["temperature"]
    assert None not in clf.predict(sorted(letters.glob("*/*.png"))).tolist()


def test_evaluate_draws_tasks_on_which_both_methods_meet(
    letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in (1, 2):
        (letters / "c" / f"{i}.png").unlink()  # one is left: too few to learn and to ask
    ask = ["evaluate", "letters", "--with", "prototypical", "--episodes", "20", "--shots", "2"]
    main([*ask, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["left_out"] == ["c"]
    assert [said[k] for k in ("episodes", "ways", "shots", "queries")] == [20, 2, 2, 2]
    clf = FewShotClassifier(load_pretrained("prototypical"))
    files, labels = pictures_and_labels(letters)
    data = clf.dataset(files[:-1], labels[:-1])
    assert data.counts == [5, 4]
    expected = evaluate(clf.model, data.episodes(2, 2, 2), 20)
    found = said["methods"]
    assert found["prototypical"]["accuracy"] == pytest.approx(expected.mean)
    assert found["prototypical"]["high"] == pytest.approx(expected.mean + expected.interval)
    difference = found["prototypical"]["accuracy"] - found["nearest pixels"]["accuracy"]
    assert said["ahead"]["mean"] == pytest.approx(difference)
    main(ask)
    out = capsys.readouterr().out
    assert "20 tasks of 2 classes, 2 pictures of each to learn from and 2 to ask:" in out
    assert "left out, with too few pictures: c" in out


TABLE = """Label;Text;when
pin;how do i reset my pin;1

weather;will it rain tomorrow;2
pin;"change the pin; of my card";3
weather;is it sunny outside;4
music;play some jazz;5
music;put on a song by Nina Simone;6
"""


def test_sentences_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ask.csv").write_text(TABLE, "utf-8-sig")  # as spreadsheets write it
    assert sentences_of(Path("ask.csv")) == {
        "music": ["play some jazz", "put on a song by Nina Simone"],
        "pin": ["how do i reset my pin", "change the pin; of my card"],
        "weather": ["will it rain tomorrow", "is it sunny outside"],
    }
    main(["fit", "ask.csv", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["file"], said["with"], said["sentences"]) == ("ask.safetensors", "minilm", 6)
    new = ["what is the forecast for Paris", "i forgot my PIN"]
    main(["predict", "ask.safetensors", *new, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [(f["sentence"], f["label"]) for f in found] == [(new[0], "weather"), (new[1], "pin")]
    main(["evaluate", "ask.csv"])
    assert "words in common" in capsys.readouterr().out
    main(["evaluate", "ask.csv", "--ways", "2", "--episodes", "30", "--json"])
    found = json.loads(capsys.readouterr().out)["methods"]
    assert found["minilm"]["accuracy"] > found["words in common"]["accuracy"] >= 0.5
    with pytest.raises(
        SystemExit, match=r"--with efficientnet_lite0 takes pictures.*--with minilm"
    ):
        main(["fit", "ask.csv", "--with", "efficientnet_lite0"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has the columns of an empty file: its first line must name"),
        (
            b"a,b\n1,2\n",
            "has the columns a, b: its first line must name the columns text and label",
        ),
        (b"text,label\nhello,\n", "line 2: there is no label"),
        (b"text,label\nhello,a\n,b\n", "line 3: there is no text"),
        (b"text,label\nhello\n", "line 2: there is no label"),
        (b"text,label\nhello,a\n", "holds 1 classes"),
        (b"text,label\nh\xe9,a\n", "is not in UTF-8"),
        (b'text,label\n"never closed,a\n', "is no table of text and label"),
        (b"text\tlabel\nhello\ta\nhi\n", "line 3: there is no label"),
    ],
)
def test_what_is_no_table_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(SystemExit) as error:
        main(["fit", str(tmp_path / "t.tsv")])
    assert "t.tsv" in str(error.value)
    assert said in str(error.value)


def test_photographs_are_looked_at_several_times_where_that_is_asked_for(
    letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, labels = pictures_and_labels(letters)
    files, labels = files[::3], labels[::3]
    for file in [*letters.glob("*/*.png")]:
        if file.relative_to(".") not in files:
            file.unlink()
    others = other_letters(Path("others"), [40, 55], n=2)
    main(["fit", "letters", "--augment", "--calibrate", str(others), "--json"])
    said = json.loads(capsys.readouterr().out)
    clf = FewShotClassifier(embed=backbone("efficientnet_lite0"), augment="all").fit(files, labels)
    strangers, names = pictures_and_labels(others)
    found = clf.calibrate(clf.dataset(strangers, names))
    assert said["calibration"]["temperature"] == pytest.approx(found.temperature)
    loaded = FewShotClassifier.load("letters.safetensors")
    assert loaded.augment == "all"
    assert np.allclose(loaded.predict_proba(strangers[:1]), clf.predict_proba(strangers[:1]))
    with pytest.raises(SystemExit, match="--augment is for photographs"):
        main(["evaluate", "letters", *PROTO, "--augment"])


def test_six_looks_at_a_named_set_are_kept(
    letters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    emoji, seen = load("emoji").subset(range(0, 60, 10)), []
    monkeypatch.setenv("MLBOOK_CACHE", str(letters.parent.resolve() / "cache"))
    monkeypatch.setattr(mlbook, "load", lambda name, size=None: emoji)
    forward = Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda net, x: seen.append(len(x)) or forward(net, x))
    said, asked = [], []
    for _ in range(2):
        main(["fit", "letters", "--augment", "--calibrate", "emoji", "--json"])
        said.append(json.loads(capsys.readouterr().out))
        asked.append(sum(seen))
        seen.clear()
    assert said[0] == said[1]
    assert asked[0] - asked[1] == 6 * 6 * 4, "six looks at four pictures of six concepts, once"


def test_many_tasks_show_how_far_they_are(
    letters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "0")
    main(["evaluate", "letters", *PROTO, "--ways", "2", "--episodes", "300", "--json"])
    shown = capsys.readouterr()
    assert "300/300" in shown.err and "tasks" in shown.err
    assert json.loads(shown.out)["episodes"] == 300


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
        (["fit", "letters/a/0.png"], "0.png is neither a folder of pictures"),
        (["fit", "letters", "-o", "no/where.safetensors"], "no is not a folder to write into"),
        (["fit", "letters", "-o", "letters"], "letters is a folder; name the file to write"),
        (["predict", "../own.safetensors", "letters/a"], "letters/a is a folder; give its"),
        (["fit", "letters", "--unknown", "0.05"], "--unknown needs --calibrate DATA"),
        (["fit", "letters", "--unknown", "5", "--calibrate", "x"], "--unknown 5.0: give a share"),
        (["fit", "letters", *PROTO, "--calibrate", "x"], "x: there is no such folder or file"),
        (["fit", "letters", *PROTO, "--calibrate", "x"], "not yours, or glyphs or omniglot"),
        (["fit", "letters", *PROTO, "--calibrate", "letters"], "two classes at least are needed"),
        (["fit", "letters", "--with", "minilm"], "--with minilm takes sentences, and these are"),
        (["evaluate", "letters", *PROTO, "--shots", "9"], "--shots 9: 0 classes of letters have"),
        (["evaluate", "letters", *PROTO, "--ways", "4"], "ways=4, but letters has 3 classes"),
    ],
)
def test_mistakes_are_one_line(letters: Path, arguments: list[str], said: str) -> None:
    if "../own.safetensors" in arguments:
        clf = FewShotClassifier(load_pretrained("prototypical"))
        clf.fit(*pictures_and_labels(letters)).save("../own.safetensors")
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert str(error.value).startswith("error: ")
    assert said in str(error.value)
    assert not list(Path().glob("*.safetensors")), "nothing half-written"
