"""A memory-augmented network and its LSTM control on sequences of 50 pictures, and what they know of each instance.

    python results/run.py mann         # or: make results METHOD=mann

Both read the pictures through the embedding of the shipped Prototypical Network, which stays as it is: of pixels alone,
a memory learns in some tens of thousands of sequences (the paper took 100,000). It is applied to every picture once,
in the four orientations, so a step of training costs the recurrence alone. A quarter of an hour for the memory, and
half as much for the control at three rates, on one core; resumable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from records import record, write
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import Dataset, Result, evaluate, fit, load
from mlbook.data.files import write_tensors
from mlbook.episodes import generator_of
from mlbook.model_based import LSTMControl
from mlbook.pretrained import MODELS, load_pretrained

HERE = Path(__file__).parent
WAYS, TIMES, BATCH, STEPS, RATE, TEST = 5, 10, 16, 6000, 1e-3, 1000
CONTROL = (1e-3, 3e-3, 1e-2)  # rates for the control, of which validation chooses
PAPER = {1: 36.4, 2: 82.8, 3: 91.0, 4: 92.6, 5: 94.9, 10: 98.1}  # its table 1, 5 classes, one-hot


@torch.no_grad()
def features(data: Dataset, embed: nn.Module) -> Tensor:
    """`[classes * 4, samples, D]`: every picture in its four orientations, each orientation a class of its own."""
    turned = (
        torch.stack([embed(torch.rot90(x / 255, k, (2, 3))) for k in range(4)]) for x in data.images
    )
    return torch.cat(list(turned))


class Sequences:
    """Batch k: sequences in which `WAYS` classes come `TIMES` times each, in any order, under labels drawn anew."""

    def __init__(self, features: Tensor, tasks: int = BATCH, seed: int = 0) -> None:
        self.features, self.tasks, self.seed = features, tasks, seed

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support and query in the order of the sequence, the first picture of it being the support."""
        g, z = generator_of(self.seed, k), self.features
        classes = torch.stack(
            [torch.randperm(len(z), generator=g)[:WAYS] for _ in range(self.tasks)]
        )
        y = torch.arange(WAYS).repeat_interleave(TIMES).expand(self.tasks, -1)
        which = torch.rand(self.tasks, WAYS, z.shape[1], generator=g).argsort(2)[:, :, :TIMES]
        order = torch.rand(y.shape, generator=g).argsort(1)
        y = y.gather(1, order)
        x = z[classes.gather(1, y), which.flatten(1).gather(1, order)]
        return x[:, :1], y[:, :1], x[:, 1:], y[:, 1:]


@torch.no_grad()
def by_instance(model: nn.Module, sequences: Sequences, n: int) -> list[Result]:
    """The accuracy at the 1st, 2nd, ... time that a class is seen, over n sequences."""
    values = []
    for k in range(n // sequences.tasks):
        first_x, first_y, x, y = sequences[k]
        x, y = torch.cat([first_x, x], 1), torch.cat([first_y, y], 1)
        right = (model.sequence(x, y).argmax(-1) == y).float()  # type: ignore[operator]
        nth = nn.functional.one_hot(y).cumsum(1).gather(2, y[..., None])[..., 0]
        each = [(right * (nth == i)).sum(1) / WAYS for i in range(1, TIMES + 1)]
        values.append(torch.stack(each))
    return [Result(v) for v in torch.cat(values, 1)]


def learn(name: str, model: nn.Module, rate: float, train: Tensor) -> int:
    """Train on sequences of the training features; the seconds that it took."""
    history = fit(
        model,
        Sequences(train),
        steps=STEPS,
        optimizer=torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate),
        schedule=lambda k: half_cosine(k / STEPS),
        checkpoint=HERE / "runs" / f"mann_{name}.safetensors",
        checkpoint_every=250,
    )
    return round(history.seconds)


def mann() -> None:
    """Train both, measure them on the same test sequences, keep the weights of the memory."""
    embed = load_pretrained("prototypical").embed
    splits = load("omniglot").split("characters", seed=0)
    train, val, test = (features(d, embed) for d in splits)  # type: ignore[arg-type]
    torch.manual_seed(0)
    models: dict[str, Any] = {"mann": MODELS["mann"]()}
    standard = models["mann"].embed[1]  # one scale for all features: some hardly ever move
    standard.running_mean, standard.running_var = train.mean((0, 1)), train.var().expand(64).clone()
    pictures = nn.Sequential(embed, standard).eval()
    train, val, test = (standard.eval()(z.flatten(0, 1)).view(z.shape) for z in (train, val, test))
    entry: dict[str, object] = {"steps": STEPS, "seed": 0}
    models["mann"].embed = nn.Identity()
    entry["mann_seconds"] = learn("mann", models["mann"], RATE, train)
    halves = {k: v.half() for k, v in models["mann"].state_dict().items()}
    models["mann"].load_state_dict(halves)  # what is measured is what is shipped
    tried = {}
    for rate in CONTROL:
        torch.manual_seed(0)
        model = LSTMControl(nn.Identity(), 64, WAYS)
        seconds = learn(f"lstm_{rate:g}", model, rate, train)
        known = by_instance(model.eval(), Sequences(val, tasks=50, seed=1), 200)
        tried[rate] = round(sum(100 * r.mean for r in known) / TIMES, 2)
        if tried[rate] == max(tried.values()):
            models["lstm"] = model
            entry |= {"lstm_seconds": seconds, "lstm_rate": rate}
    entry["lstm_tried"] = tried
    for name, model in models.items():
        for part, z, n in (("validation", val, 200), ("test", test, TEST)):
            results = by_instance(model.eval(), Sequences(z, tasks=50, seed=1), n)
            entry[f"{name}_{part}"] = [round(100 * r.mean, 2) for r in results]
            entry[f"{name}_{part}_intervals"] = [round(100 * r.interval, 2) for r in results]
            print(name, part, *results, sep="\n  ")
    protocol = (
        "Omniglot 'characters' split, seed 0 (1100/100/423 characters); 28x28; classes turned by multiples of 90 "
        "degrees in training and at meta-test; embedding of the shipped Prototypical Network, standardised, not "
        f"trained; {STEPS:,} steps of {BATCH} sequences of {WAYS} classes x {TIMES}, Adam at {RATE:g} (the "
        f"control: at the best of {', '.join(f'{r:g}' for r in CONTROL)}), half-cosine to 0"
    )
    write("mann", "5x10", **entry, paper=PAPER, sequences=TEST, protocol=protocol)
    model = models["mann"]
    model.embed = pictures
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(tensors)
    for shots in (1, 5):
        asked = splits[2].episodes(5, shots, 15, rotations=True, seed=1)
        task = {"ways": 5, "shots": shots, "queries": 15, "weights": "mann", "paper": None}
        facts = {**task, "steps": STEPS, "seed": 0, "protocol": protocol}
        record("mann", f"5w{shots}s", evaluate(model, asked, n=1000), **facts)
    write_tensors(
        HERE.parent / "mlbook" / "pretrained" / "mann.safetensors",
        tensors,
        {"method": "mann", "protocol": protocol},
    )
