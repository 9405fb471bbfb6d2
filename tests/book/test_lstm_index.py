"""The numbers, drawings and lines of code on the index page of the chapter on the LSTM meta-learner."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mlbook.lstm_meta_learner import LearnedOptimizer, MetaLSTM

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "book" / "lstm_meta_learner"
PAGE = (PAGES / "index.md").read_text(encoding="utf-8")
FIGURES = ROOT / "book" / "assets" / "figures"
DRAWING = FIGURES / "lstm_history.svg"
METHOD = (ROOT / "mlbook" / "lstm_meta_learner" / "meta_lstm.py").read_text(encoding="utf-8")
RESULTS = ROOT / "mlbook" / "results"
CURVATURE, START, STEPS = (1.0, 0.01), (1.0, 10.0), 100


def blocks() -> list[str]:
    return re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)


@pytest.mark.parametrize(
    "line", ["theta = f * theta - i * g", "at = theta.detach().requires_grad_()"]
)
def test_lines_quoted_are_lines_of_the_method(line: str) -> None:
    assert line in PAGE and line in METHOD


@pytest.mark.parametrize("k", [0, 1])
def test_snippets_print_what_their_comments_say(k: int) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(blocks()[k], f"snippet {k}", "exec"), {})
    said = re.findall(r"(?m)^ *print\(.*\)  # (.+)$", blocks()[k])
    assert said and out.getvalue().split() == " ".join(said).split()


def run(rate: float) -> list[tuple[float, ...]]:
    """All points of the descent, in closed form."""
    return [
        tuple((1 - rate * h) ** t * x for h, x in zip(CURVATURE, START, strict=True))
        for t in range(STEPS + 1)
    ]


def slope(rate: float, piece: int, constant: bool) -> float:
    """The truncated derivative of J, by the sums of the page and not by autograd."""
    points, total, d = run(rate), 0.0, [0.0, 0.0]
    for t in range(1, STEPS + 1):
        if (t - 1) % piece == 0:
            d = [0.0, 0.0]
        for j, h in enumerate(CURVATURE):
            d[j] = d[j] * (1 if constant else 1 - rate * h) - h * points[t - 1][j]
            total += h * points[t][j] * d[j]
    return total


@pytest.mark.parametrize(
    ("name", "piece"),
    [("1 step", 1), ("5 steps", 5), ("20 steps", 20), ("100 steps, no cut", 100)],
)
def test_the_table_of_truncated_rates(name: str, piece: int) -> None:
    row = [name]
    for constant in (False, True):
        low, high = 1.0, 2.0
        for _ in range(60):
            rate = (low + high) / 2
            low, high = (rate, high) if slope(rate, piece, constant) < 0 else (low, rate)
        J = sum(h * x * x / 2 for p in run(rate)[1:] for h, x in zip(CURVATURE, p, strict=True))
        row += [f"{rate:.3f}", f"{J:.2f}"]
    assert f"| {' | '.join(row)} |" in PAGE


def test_bias_correction_is_a_gate_on_a_timer() -> None:
    b, m, corrected = 0.9, 0.0, 0.0
    gates = []
    for t in range(1, 30):
        g = math.sin(t)
        m = b * m + (1 - b) * g
        f, i = b * (1 - b ** (t - 1)) / (1 - b**t), (1 - b) / (1 - b**t)
        corrected = f * corrected + i * g
        gates.append(f"{f:.2f}")
        assert math.isclose(corrected, m / (1 - b**t)) and math.isclose(f + i, 1)
    assert gates[:3] == ["0.00", "0.47", "0.63"] and "it goes 0, 0.47, 0.63 and on to 0.9" in PAGE


def test_a_cell_that_takes_in_gradients_is_momentum() -> None:
    torch.manual_seed(0)
    theta = torch.randn(5, dtype=torch.float64)
    p, v = nn.Parameter(theta.clone()), torch.zeros_like(theta)
    sgd = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    for _ in range(20):
        sgd.zero_grad()
        p.cos().sum().backward()
        sgd.step()
        v = 0.9 * v + theta.sin()
        theta = theta + 0.1 * v
    torch.testing.assert_close(p.detach(), theta)


def test_the_drawing_of_the_history_shows_the_products() -> None:
    source, T = DRAWING.read_text(encoding="utf-8"), 12
    f = {"g1": [1.0] * T, "g2": [0.9] * T, "g3": [0.9] * 7 + [0.2] + [0.9] * 4}
    for row, gate in f.items():
        heights = re.findall(rf'class="{row}" .*? height="([\d.]+)"', source)
        assert len(heights) == T
        for k, height in enumerate(heights):
            assert abs(float(height) / 96 - math.prod(gate[k + 1 :])) < 1e-3


def test_counts_of_weights_and_multiplications() -> None:
    meta = MetaLSTM(nn.Linear(1, 1))
    own = [p for n, p in meta.named_parameters() if not n.startswith("net.")]
    learned = list(LearnedOptimizer(lambda theta: theta.sum(-1)).parameters())
    assert f"{sum(p.numel() for p in own):,} numbers" in PAGE
    small = MetaLSTM(nn.Linear(1, 1), hidden=0)
    gates = [p for n, p in small.named_parameters() if not n.startswith("net.")]
    assert f"{sum(p.numel() for p in gates)} numbers without the LSTM layer" in PAGE
    assert f"or {sum(p.numel() for p in gates if p.dim() == 2)} with `hidden=0`" in PAGE
    assert f"{sum(p.numel() for p in learned):,} numbers" in PAGE
    for weights, said in (
        (own, "2,000"),
        (learned, "5,000"),
    ):  # a matrix's entry: one multiplication
        count = sum(p.numel() for p in weights if p.dim() == 2)
        assert (
            f"some {said} multiplications" in PAGE and abs(count - int(said.replace(",", ""))) < 50
        )


def test_gates_begin_where_the_page_says() -> None:
    for _ in range(20):
        model = MetaLSTM(nn.Linear(1, 1))
        assert 0.98 < model.f.bias.sigmoid().item() < 0.995
        assert 0.005 < model.i.bias.sigmoid().item() < 0.02
    assert "$f$ lies near 1 and $i$ near 0.01" in PAGE


def test_the_drawing_of_the_uses_has_every_row_of_their_tables() -> None:
    where = (PAGES / "where_it_is_used.md").read_text(encoding="utf-8")
    tables = re.findall(r"(?ms)^```\{list-table\} What has been shown: (\w+)\.\n(.*?)^```", where)
    drawing = (FIGURES / "lstm_where.svg").read_text(encoding="utf-8")
    areas = re.split(r'<path d="M14 \d+H586"', drawing)[1:-1]  # between the lines across
    assert [name for name, _ in tables] == ["language", "images", "robots", "people"]
    for (name, rows), area in zip(tables, areas, strict=True):
        assert f">{name}<" in area
        marks = re.findall(r"<circle|<rect|<path", area)
        assert len(marks) == rows.count("\n* - ") - 1, name


def stored(name: str) -> dict[str, Any]:
    """A stored run; `{}` if there is none of this name."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def figure(run: dict[str, Any]) -> str:
    """Mean and half the 95 % interval, in percent; each query by itself."""
    run = {**run, **run.get("inductive", {})}
    if not run:
        return ""
    digits = 1 if run["interval"] >= 0.05 else 2
    return f"{run['accuracy']:.{digits}f} ± {run['interval']:.{digits}f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def few_shot() -> str:
    """Accuracies of shipped weights and of the same learned start under others, and the paired differences."""
    runs = [stored(f"meta_lstm_5w{k}s") for k in (1, 5)]
    rows = [["LSTM meta-learner", *map(figure, runs)]]
    for name, label in (("sgd", "SGD"), ("adam", "Adam")):
        same = [figure(run.get("same_start", {}).get(name, {})) for run in runs]
        rows.append([f"its start, then {label}, rate and steps tuned", *same])
    for name, label in (
        ("first_order_maml", "MAML, first order"),
        ("maml", "MAML"),
        ("prototypical", "Prototypical Network"),
    ):
        rows.append([label, *(figure(stored(f"{name}_5w{k}s")) for k in (1, 5))])
    made = table(["Omniglot, 5 ways", "1 shot", "5 shots"], rows)
    said = []
    for name, label in (("sgd", "SGD"), ("adam", "Adam")):
        gaps = [
            f"{same['gain']:+.1f} ± {same['gain_interval']:.1f} points with {shots}"
            for run, shots in zip(runs, ("1 shot", "5 shots"), strict=True)
            if (same := run.get("same_start", {}).get(name))
        ]
        said.append(f"LSTM minus {label} from the same start is {' and '.join(gaps)}")
    counts = " and ".join(
        f"{run['same_start']['sgd']['episodes']:,} with {shots}"
        for run, shots in zip(runs, ("1 shot", "5 shots"), strict=True)
    )
    text = f"Paired on the same tasks ({counts}), {'; '.join(said)}.".replace(" -", " −")
    plain = stored("first_order_maml_5w1s")["inductive"]
    gates = all(r["gain"] > r["gain_interval"] for run in runs for r in run["same_start"].values())
    if gates and plain["accuracy"] - plain["interval"] > runs[0]["accuracy"] + runs[0]["interval"]:
        text += (
            " So the gates do bring something that none of the rates we tried brings from this start."
            " And first-order MAML, which learns a start for a fixed rate and nothing else, stands above"
            " all three, after more than twice as many steps of training."
        )
        assert stored("first_order_maml_5w1s")["steps"] > 2 * runs[0]["steps"]
    return f"{made}\n\n{text}"


def recipes() -> str:
    """In what the rows of the table of accuracies differ beside the method."""
    names = ("meta_lstm", "first_order_maml", "maml", "prototypical")
    one, five = ([stored(f"{name}_5w{k}s") for name in names] for k in (1, 5))
    filters = [re.search(r"Conv4-(\d+)", run["protocol"])[1] for run in one]  # type: ignore[index]
    assert filters == ["32", "32", "32", "64"]
    assert all("steps of 4 5-way 1-shot tasks" in run["protocol"] for run in one[:3])
    assert "60-way 1-shot episodes" in one[3]["protocol"]
    assert [run["test"]["steps"] for run in one[1:3]] == [10, 10]
    assert "5 inner steps" in one[0]["protocol"]
    assert all("from the weights for 1 shot on" in five[k]["protocol"] for k in (0, 2))
    assert all(five[k]["steps"] == one[k]["steps"] for k in (1, 3))
    lstm, first, maml, proto = (f"{run['steps']:,}" for run in one)
    return (
        f"The Prototypical Network has {filters[3]} filters a layer, the others {filters[0]}. The LSTM meta-learner"
        f" was trained for {lstm} steps, first-order MAML for {first} and MAML for {maml}, each step of 4 tasks of 5"
        f" ways; the Prototypical Network for {proto} steps of one episode of 60 ways. For 5 shots the LSTM"
        f" meta-learner was trained for {five[0]['steps']:,} steps more and MAML for {five[2]['steps']:,}, the other"
        " two not at all. At the test both MAMLs take 10 steps and the LSTM meta-learner 5."
    )


def test_what_the_rows_differ_in_stands_before_the_table() -> None:
    said = f"no contest with the first three. {recipes()}\n\n| Omniglot, 5 ways |"
    assert said in PAGE, f"the page needs this: {said}"


def layer() -> str:
    """What the paper's first layer brings, in a short run; or that nobody has looked."""
    without, with_it = (stored(f"meta_lstm_layer_hidden{hidden:02}") for hidden in (0, 20))
    if not with_it:
        return (
            "**And with the layer?** What the paper's first layer (`hidden=20`: 2,126 numbers) would bring has not been"
            " measured here; `make results METHOD=meta_lstm_layer` trains both for a while on the same tasks."
        )
    assert without["steps"] == with_it["steps"] and without["hidden"] < with_it["hidden"]
    assert without["numbers"] == 14 and with_it["numbers"] == 2126
    gain, interval = (with_it["against_without"][k] for k in ("gain", "interval"))
    verdict = "nothing that could be told from chance"
    if abs(gain) > interval:
        verdict = "more than chance would" if gain > 0 else "less than it costs"
    points = f"{gain:+.1f} ± {interval:.1f} points".replace("-", "−")
    return (
        f"**And with the layer?** In a run of {with_it['steps']} steps, with the same tasks for both and the rate of"
        " gates and layer chosen on validation tasks, `hidden=20` (2,126 numbers) ends at"
        f" {figure(with_it)} % and `hidden=0` at {figure(without)} % on the same {with_it['episodes']} test tasks:"
        f" {points} (one run each; `make results METHOD=meta_lstm_layer`). So at this length the layer brings"
        f" {verdict}. What it would bring in a run as long as the shipped one has not been measured."
    )


def test_the_promise_is_tested_without_the_layer_and_the_pages_say_so() -> None:
    assert layer() in PAGE, f"the page needs this: {layer()}"
    assert layer() in text_of("lstm_meta_learner"), "and so does the method's own page"
    assert "tested *without its LSTM layer*" in PAGE


def text_of(notebook: str) -> str:
    """The Markdown of a notebook of the chapter."""
    cells = json.loads((PAGES / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def significant(x: float, digits: int = 2) -> str:
    """As a plain decimal, with so many digits that say something."""
    return f"{x:.{max(0, digits - 1 - math.floor(math.log10(x)))}f}"


OPTIMIZERS = {
    "learned": "learned",
    "sgd": "SGD",
    "momentum": "momentum",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "momentum_beta": "momentum with its $\\beta$ tuned",
    "adam_beta": "Adam with its $\\beta_1$ tuned",
    "momentum_cosine": "momentum with $\\beta$ tuned and falling rate",
    "adam_cosine": "Adam with $\\beta_1$ tuned and falling rate",
}


def geometric(r: dict[str, Any]) -> str:
    return f"{significant(r['geometric_mean'])} ×/÷ {r['times']:.2f}"


def arithmetic(r: dict[str, Any]) -> str:
    return f"{significant(r['mean'])} ± {significant(r['mean_interval'])}"


def strongest(run: dict[str, Any], mean: str) -> str:
    """The best of the others by this mean."""
    others = {k: r for k, r in run["optimizers"].items() if k != "learned"}
    return min(others, key=lambda k: others[k][mean])


def lead(run: dict[str, Any], name: str) -> str:
    """How many times as high the geometric mean of an optimizer is as that of the rule, with its interval."""
    r = run["optimizers"][name]
    ends = (r["over_learned"] * r["over_learned_times"] ** side for side in (-1, 1))
    low, high = map(significant, ends)
    return f"{significant(r['over_learned'])} times as high ({low} to {high})"


def steps() -> str:
    """The loss after 100 steps by both means, all optimizers, and what may be said of the two."""
    runs = [stored(f"learned_optimizer_{kind}") for kind in ("quadratics", "classifier")]
    assert all(set(run["optimizers"]) == set(OPTIMIZERS) for run in runs), "every one is shown"
    rows = []
    for name, label in OPTIMIZERS.items():
        each = [run["optimizers"][name] for run in runs]
        rows.append([label, *(say(r) for r in each for say in (geometric, arithmetic))])
    head = ["quadratics, geometric", "arithmetic", "classifiers, geometric", "arithmetic"]
    made = table(["loss after 100 steps", *head], rows)
    said = []
    for run, kind in zip(runs, ("on the quadratics", "on the classifiers"), strict=True):
        best = strongest(run, "geometric_mean")
        said.append(f"{kind} the best of the eight, {OPTIMIZERS[best]}, ends {lead(run, best)}")
    text = f"By the geometric mean, {', '.join(said)}."
    said = []
    for run, kind in zip(runs, ("on the quadratics", "on the classifiers"), strict=True):
        best = strongest(run, "mean")
        ours, other = run["optimizers"]["learned"], run["optimizers"][best]
        apart = abs(ours["mean"] - other["mean"]) > ours["mean_interval"] + other["mean_interval"]
        verdict = "the intervals do not meet" if apart else "the intervals overlap"
        said.append(
            f"{kind} it is {arithmetic(ours)} for the rule and {arithmetic(other)} for the best other,"
            f" {OPTIMIZERS[best]}: {verdict}"
        )
    text += f" By the arithmetic mean, {'; '.join(said)}."
    unit = runs[1]["optimizers"]["learned"]["unit"]
    return (
        f"{made}\n\n{text} The learned rule was trained on quadratics alone, with second derivatives. On the"
        f" classifiers it minimises {unit:,.0f} times the loss: that factor was chosen on validation problems, as the"
        " rates of the others were. [Learned optimizers](learned_optimizers.ipynb) shows how much hangs on it."
    )


def printed(notebook: str, cell: str) -> str:
    """What a cell of a notebook of the chapter has printed."""
    cells = json.loads((PAGES / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    (found,) = (c for c in cells if c["id"] == cell)
    return "".join("".join(o["text"]) for o in found["outputs"] if o["output_type"] == "stream")


def test_what_hangs_on_horizon_mean_and_network_stands_before_the_verdict() -> None:
    relu = stored("learned_optimizer_relu")["optimizers"]
    best = min(relu, key=lambda k: relu[k]["geometric_mean"])
    said = (
        f"the rule ends at a loss of {significant(relu['learned']['geometric_mean'])},"
        f" {OPTIMIZERS[best]} at {significant(relu[best]['geometric_mean'])}"
    )
    assert relu["learned"]["geometric_mean"] > 1000 * relu[best]["geometric_mean"]
    before, after = PAGE.split("| loss after 100 steps |")
    caveat = before[before.rindex("**Free steps.**") :]
    assert said in caveat
    for word in (
        "exactly 100 steps",
        "geometric mean",
        "arithmetic mean",
        "rectified linear units",
    ):
        assert word in caveat, word
    assert "By the geometric mean," in after and "By the geometric mean," not in before


def test_one_figure_for_the_classifiers_and_the_other_explained() -> None:
    """Sixteen problems on the page of learned optimizers, 64 in the stored run, and they agree."""
    run = stored("learned_optimizer_classifier")
    out = printed("learned_optimizers", "learned-40")
    row = re.search(r"(?m)^momentum +\S+(?: +\S+ ± \S+)? +(\S+) \((\S+) to (\S+)\)$", out)
    assert row is not None
    middle, low, high = (float(x) for x in row.groups())
    r = run["optimizers"]["momentum"]
    assert low < r["over_learned"] < high
    said = (
        f"The page on learned optimizers makes the comparison again, on 16 of such networks and not {run['problems']},"
        f" and prints {significant(middle)} ({significant(low)} to {significant(high)}) for momentum where the stored"
        f" run has {significant(r['over_learned'])}"
    )
    assert said in PAGE


def test_by_the_arithmetic_mean_of_six_others_momentum_and_adam_are_ahead() -> None:
    out = printed("learned_optimizers", "learned-46")
    seen = {
        name: re.search(rf"(?m)^{name} +(\S+)", out)[1]  # type: ignore[index]
        for name in ("momentum", "Adam", "learned, shipped")
    }
    assert max(float(seen["momentum"]), float(seen["Adam"])) < float(seen["learned, shipped"])
    said = (
        f"On six further networks there, momentum ({seen['momentum']}) and Adam ({seen['Adam']}) are ahead of the"
        f" shipped rule ({seen['learned, shipped']}) by the arithmetic mean"
    )
    assert said in PAGE


def regret() -> str:
    """Regret over the pulls of a bandit, and how far the agent's lies below, table by table."""
    names = {
        "random": "any arm",
        "ucb1": "UCB1",
        "thompson": "Thompson sampling",
        "agent": "recurrent agent",
        "agent_greedy": "… always its likeliest arm",
        "bayes_optimal": "Bayes-optimal",
    }
    rows = []
    for name, label in names.items():
        r = stored("bandits_2x100")["players"][name]
        minus = f"{r['agent_minus']:+.2f} ± {r['agent_minus_interval']:.2f}"
        rows.append(
            [
                label,
                f"{r['regret']:.2f} ± {r['interval']:.2f}",
                "" if name == "agent" else minus.replace("-", "−"),
            ]
        )
    made = table(["two arms, 100 pulls", "regret", "the agent's minus this"], rows)
    players = stored("bandits_2x100")["players"]
    ahead = [
        players[k]["agent_minus"] < -players[k]["agent_minus_interval"]
        for k in ("ucb1", "thompson")
    ]
    said = {
        (True, True): "less than either of the algorithms that were made for it",
        (True, False): "less than UCB1, but not less than Thompson sampling",
        (False, False): "no less than the algorithms that were made for it",
    }[(ahead[0], ahead[1])]
    text = (
        f"The agent, which was told nothing of the game, loses {said}. The last row is the least that"
        " any player can lose on average."
    )
    return f"{made}\n\n{text}"


def recall() -> str:
    """How much is recalled at the longest delay trained, and from where on it is lost."""
    rows = []
    for name, label in (("lstm", "LSTM"), ("gru", "GRU"), ("rnn", "plain recurrent network")):
        run = stored(f"recall_{name}")
        fails = run.get("fails_at")
        beyond = f"{fails:,}" if fails else f"beyond {run['delays'][-1]:,}"
        n = run["episodes"]
        rows.append([label, f"{run['accuracy'] * n / 100:,.0f} of {n:,}", beyond])
    longest = stored("recall_lstm")["longest"]
    return table(["recall", f"right after {longest} steps", "below 95 % from"], rows)


TABLES = {
    "meta_lstm_5w1s": few_shot,
    "learned_optimizer_quadratics": steps,
    "bandits_2x100": regret,
    "recall_rnn": recall,
}


@pytest.mark.parametrize("needs", TABLES)
def test_the_tables_are_those_of_the_stored_runs(needs: str) -> None:
    if not stored(needs):
        pytest.skip(f"no stored run {needs}")
    made = TABLES[needs]()
    assert made in PAGE, f"the page needs this table:\n{made}"


def test_what_the_page_says_of_recall() -> None:
    runs = {name: stored(f"recall_{name}") for name in ("lstm", "gru", "rnn")}
    if not all(runs.values()):
        pytest.skip("no stored run of recall")
    delays, longest = runs["lstm"]["delays"], runs["lstm"]["longest"]
    mean = {
        name: [sum(c) / len(c) for c in zip(*run["accuracy_by_delay"], strict=True)]
        for name, run in runs.items()
    }
    assert min(mean["lstm"]) > 99.5 and delays[-1] >= 100 * longest
    assert all(a > 99 for a, d in zip(mean["gru"], delays, strict=True) if d <= 2 * longest)
    assert mean["gru"][-1] < 95
    later = [a for a, d in zip(mean["rnn"], delays, strict=True) if d >= 5]
    assert max(later) < 60 and max(later) - min(later) < 15


def test_on_omniglot_it_stands_below() -> None:
    ours = stored("meta_lstm_5w1s")
    if not ours:
        pytest.skip("no stored run of meta_lstm")
    for name in ("first_order_maml", "maml", "prototypical"):
        other = stored(f"{name}_5w1s")
        other = {**other, **other.get("inductive", {})}
        assert other["accuracy"] - other["interval"] > ours["accuracy"] + ours["interval"]
