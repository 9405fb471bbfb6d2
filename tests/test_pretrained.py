from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from mlbook import evaluate, load, load_pretrained
from mlbook.data.bandits import Bandits, BanditTables
from mlbook.data.files import read_tensors
from mlbook.data.problems import Classifiers, Quadratics, classifier
from mlbook.pretrained import MODELS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "mlbook" / "pretrained"


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_small_whole_and_ready(name: str) -> None:
    model = load_pretrained(name)
    assert not model.training
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= 3e6
    assert set(read_tensors(FOLDER / f"{name}.safetensors")[0]) == set(model.state_dict())


def test_all_weights_together_are_at_most_25_megabytes_and_each_has_a_model() -> None:
    files = list(FOLDER.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 25e6
    assert {file.stem for file in files} == set(MODELS)


# weights, the setting in which they were measured, and how much of its 1,000 tasks is measured again
MEASURED = [
    ("centroids", "centroids_5w1s"),
    ("first_order_maml", "first_order_maml_5w1s"),
    ("hypernetwork", "hypernetwork_5w1s"),
    ("in_context", "in_context_5w1s"),
    ("maml", "maml_5w1s"),
    ("maml_5_shot", "maml_5w5s"),
    ("mann", "mann_5w1s"),
    ("matching", "matching_5w1s"),
    ("meta_lstm", "meta_lstm_5w1s"),
    ("meta_lstm_5_shot", "meta_lstm_5w5s"),
    ("meta_network", "meta_network_5w1s"),
    ("prototypical", "prototypical_5w1s"),
    ("relation", "relation_5w1s"),
    ("relation_5_shot", "relation_5w5s"),
    ("reptile", "reptile_5w1s"),
    ("siamese", "siamese_5w1s"),
]


@pytest.mark.parametrize(("name", "result"), MEASURED)
def test_the_recorded_accuracy_is_that_of_the_shipped_weights(name: str, result: str) -> None:
    """Of the first 100 of the recorded 1,000 tasks, within what chance allows."""
    try:
        _, _, test = load("omniglot").split("characters", seed=0)
    except FileNotFoundError:
        pytest.skip("Omniglot is not here: no network and no MLBOOK_DATA")
    recorded = json.loads((ROOT / "mlbook" / "results" / f"{result}.json").read_text())
    assert recorded.get("weights", name) == name
    turned = recorded.get("rotations", True)
    tasks = test.episodes(5, recorded["shots"], 15, rotations=turned, seed=1)
    measured = evaluate(load_pretrained(name), tasks, n=100, **recorded.get("test", {}))
    deviation = (
        recorded["interval"] / 1.96 * (recorded["episodes"] / 100) ** 0.5
    )  # of a mean over 100
    assert abs(100 * measured.mean - recorded["accuracy"]) < 4 * deviation + 0.05


def test_the_recorded_regret_is_that_of_the_shipped_agent() -> None:
    """Over the first 2,000 of as many tables of another seed, within what chance allows."""
    run = json.loads((ROOT / "mlbook" / "results" / "bandits_2x100.json").read_text())
    said = run["players"]["agent"]
    agent = load_pretrained("bandit_agent").train()  # it draws its arms
    p, pays = Bandits(tasks=2000, seed=5)[0]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        played = agent.rollout(BanditTables(p, pays), 100)
    regret = (p.amax(1) - p.gather(1, played["action"].T).mean(1)) * 100
    deviation = said["interval"] / 1.96 * (run["tables"] / 2000) ** 0.5
    assert abs(regret.mean().item() - said["regret"]) < 4 * deviation


@pytest.mark.parametrize("setting", ["quadratics", "classifier"])
def test_the_recorded_loss_is_that_of_the_shipped_optimizer(setting: str) -> None:
    """On problems of another seed, within what chance allows."""
    run = json.loads(
        (ROOT / "mlbook" / "results" / f"learned_optimizer_{setting}.json").read_text()
    )
    said = run["optimizers"]["learned"]
    rule, tasks = load_pretrained("learned_optimizer"), 64 if setting == "quadratics" else 4
    if setting == "quadratics":
        problem = Quadratics(tasks=tasks, seed=5)[0]
    else:
        problem = Classifiers(load("glyphs").split("characters", seed=0)[2], tasks=tasks, seed=5)[0]
        rule.f = lambda *at: said["unit"] * classifier()(*at)
    f = rule.minimise(*problem, steps=100)[0][-1] / said["unit"]
    deviation = math.log(said["times"]) / 1.96 * (run["problems"] / tasks) ** 0.5
    assert abs(f.log().mean().item() - math.log(said["geometric_mean"])) < 4 * deviation


def test_all_weights_are_measured() -> None:
    others = {"bandit_agent", "learned_optimizer"}  # above
    others |= {
        "prior_fitted",
        "robot",
        "robot_no_memory",
    }  # in tests/practice, test_tables and test_robot
    assert {name for name, _ in MEASURED} | others == set(MODELS)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"load_pretrained\('protonet'\): there are weights for 'bandit_agent', 'centroids', 'first_order_maml',",
    ):
        load_pretrained("protonet")
