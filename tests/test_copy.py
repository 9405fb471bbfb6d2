"""Each method's file, copied alone into an empty folder, works there: it imports torch and the standard library."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAMILIES = ("metric", "model_based", "optimization", "lstm_meta_learner")
FILES = sorted(
    p
    for family in FAMILIES
    for p in (ROOT / "mlbook" / family).glob("*.py")
    if p.name != "__init__.py"
)

# Learns to tell apart points by their direction; the true direction counts, the length is noise.
LOOP = """def tasks(t=8, ways=3, shots=1, queries=5):
    angle = 6.283 * (torch.rand(t, 1) + torch.arange(ways) / ways)
    def draw(n):
        a = angle.repeat(1, n)
        length = 0.2 + 3 * torch.rand(t, n * ways, 1)
        return length * torch.stack([a.cos(), a.sin()], -1), torch.arange(ways).repeat(t, n)
    return *draw(shots), *draw(queries)
def accuracy():
    model.eval()
    sx, sy, qx, qy = tasks(200)
    with torch.no_grad():
        return (model.adapt(sx, sy)(qx).argmax(-1) == qy).float().mean().item()
before = accuracy()
model.train()
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(200):
    optimizer.zero_grad()
    model.loss(*tasks()).backward()
    optimizer.step()
after = accuracy()
assert after > 0.9 and after > before + 0.05, (before, after)
"""
# The same, by gradient steps that are too small for a network that has learned nothing.
NET = """import torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
"""
# Pictures that every task shares, with labels that only the task tells; read as a sequence.
SEQUENCE = """def tasks(t=16, shots=1, queries=3):
    labels = torch.rand(t, WAYS).argsort(-1)
    def draw(n):
        x = torch.eye(WAYS).repeat(t, n, 1)
        return x + 0.1 * torch.randn_like(x), labels.repeat(1, n)
""" + LOOP[LOOP.index("    return *draw(shots)") :].replace("range(200)", "range(400)")
TRAIN = {
    "mann": """import torch
from mann import MANN
torch.manual_seed(0)
WAYS = 3
model = MANN(torch.nn.Flatten(), 3, WAYS, hidden=32, slots=12, width=8, reads=1, scale=None)
"""
    + SEQUENCE.replace("1e-2", "2e-2"),
    "lstm_control": """import torch
from lstm_control import LSTMControl
torch.manual_seed(0)
WAYS = 2
model = LSTMControl(torch.nn.Flatten(), 2, WAYS, hidden=32)
"""
    + SEQUENCE,
    "meta_network": """
import torch
from meta_network import MetaNetwork
torch.manual_seed(0)
trunk = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU())
model = MetaNetwork(trunk, dim=32, ways=3)
"""
    + LOOP,
    "hypernetwork": """
import torch
from hypernetwork import HyperNetwork
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
model = HyperNetwork(net, dim=8, hidden=32)
"""
    + LOOP,
    "in_context": """
import torch
from in_context import InContextTransformer
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
model = InContextTransformer(net, dim=8, ways=3)
"""
    + LOOP,
    "prior_fitted": """
import torch
from prior_fitted import PriorFittedNetwork
torch.manual_seed(0)
model = PriorFittedNetwork(columns=2, ways=3, dim=32, layers=2)
"""
    + LOOP,
    # Straight lines through the origin: one point says all.
    "meta_lstm": NET
    + """from meta_lstm import MetaLSTM
model = MetaLSTM(net, steps=5, hidden=4)
"""
    + LOOP,
    "learned_optimizer": """import torch
from learned_optimizer import LearnedOptimizer
def bowl(theta, centre):
    return (theta - centre).square().sum(-1)
torch.manual_seed(0)
model = LearnedOptimizer(bowl, hidden=10, steps=20, scale=0.1)
adam = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(100):
    adam.zero_grad()
    model.loss(*torch.randn(2, 16, 3)).backward()
    adam.step()
net = torch.nn.Linear(4, 1)
x = torch.randn(50, 4)
y = x.sum(-1, keepdim=True)
optimizer = model.optimizer(net.parameters())
losses = []
for _ in range(20):
    optimizer.zero_grad()
    loss = (net(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < 0.2 * losses[0], losses
""",
    "recurrent_learner": """import torch
from recurrent_learner import RecurrentLearner
torch.manual_seed(0)
model = RecurrentLearner(1, 1, hidden=32)
def tasks(t=32):
    slope, x = torch.randn(t, 1, 1), torch.randn(t, 8, 1)
    return x[:, :4], slope * x[:, :4], x[:, 4:], slope * x[:, 4:]
def error():
    sx, sy, qx, qy = tasks(500)
    with torch.no_grad():
        return (model.adapt(sx, sy)(qx) - qy).square().mean().item()
before = error()
adam = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(400):
    adam.zero_grad()
    model.loss(*tasks()).backward()
    adam.step()
assert error() < 0.3 * before, (error(), before)
""",
    # Something that is pushed by a force that nobody told, and by a motor of which nobody says how it pulls.
    "recurrent_policy": """import torch
from recurrent_policy import RecurrentPolicy
def step(s, u, z):
    v = 0.9 * s[:, 1] + 0.1 * (z[:, 0] + z[:, 1] * u)
    return torch.stack([s[:, 0] + 0.1 * v, v], -1)
def cost(s, u, z):
    return s[..., 0].square()
def tasks(t=64):
    wind, motor = torch.rand(t) - 0.5, 1 + 2 * torch.rand(t)
    return torch.stack([wind, motor], -1), torch.randn(t, 2)
torch.manual_seed(0)
model = RecurrentPolicy(step, cost, states=2, steps=25, hidden=8)
def late():
    with torch.no_grad():
        return model.rollout(*tasks(500))["cost"].mean().item()
before = late()
adam = torch.optim.Adam(model.parameters(), 2e-2)
for _ in range(50):
    adam.zero_grad()
    model.loss(*tasks()).backward()
    adam.step()
assert late() < 0.7 * before, (late(), before)
""",
    "neural_process": """
import torch
from neural_process import NeuralProcess
def tasks(t=16, shots=2, queries=10):
    slope = 2 * torch.randn(t, 1, 1)
    sx, qx = (0.5 + torch.rand(t, n, 1) for n in (shots, queries))
    return sx, slope * sx, qx, slope * qx
def error(model):
    sx, sy, qx, qy = tasks(200)
    with torch.no_grad():
        return (model.adapt(sx, sy)(qx) - qy).square().mean().item()
for attention in (False, True):
    torch.manual_seed(0)
    model = NeuralProcess(dim=32, attention=attention, heads=4)
    before = error(model)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        model.loss(*tasks()).backward()
        optimizer.step()
    after = error(model)
    assert before > 2 and after < before / 8, (attention, before, after)
""",
    "maml": NET + "from maml import MAML\nmodel = MAML(net, inner_lr=0.1)\n" + LOOP,
    "anil": NET + "from anil import ANIL\nmodel = ANIL(net[:2], net[2], inner_lr=0.1)\n" + LOOP,
    "meta_sgd": NET + "from meta_sgd import MetaSGD\nmodel = MetaSGD(net)\n" + LOOP,
    "reptile": NET
    + "from reptile import Reptile\nmodel = Reptile(net, inner_lr=0.01, steps=3, batch=6)\n"
    + LOOP,
    # A direction is described by its cosine and sine; classes of training and test differ.
    "zero_shot": """
import torch
from zero_shot import ZeroShotPrototypicalNetwork
torch.manual_seed(0)
net = lambda: torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
model = ZeroShotPrototypicalNetwork(net(), net())
def tasks(t=8, ways=3, queries=15):
    angle = 6.283 * (torch.rand(t, 1) + torch.arange(ways) / ways)
    labels = torch.rand(t, ways).argsort(-1)
    descriptions = torch.stack([angle.cos(), angle.sin()], -1)
    row = torch.randint(ways, (t, queries))
    length = 0.2 + 3 * torch.rand(t, queries, 1)
    query = length * descriptions.gather(1, row[..., None].expand(-1, -1, 2)).flip(-1)  # other axes than the words
    return descriptions, labels, query, labels.gather(1, row)
def accuracy():
    v, y, qx, qy = tasks(200)
    with torch.no_grad():
        return (model.adapt(v, y)(qx).argmax(-1) == qy).float().mean().item()
before = accuracy()
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(200):
    optimizer.zero_grad()
    model.loss(*tasks()).backward()
    optimizer.step()
after = accuracy()
assert after > 0.9 and after > before + 0.05, (before, after)
""",
    "relation": """
import torch
from relation import RelationModule, RelationNetwork
torch.manual_seed(0)
embed = torch.nn.Sequential(torch.nn.Linear(2, 128), torch.nn.ReLU(), torch.nn.Unflatten(1, (8, 4, 4)))
model = RelationNetwork(embed, RelationModule(channels=8, size=4))
"""
    + LOOP,
    "matching": """
import torch  # the points lie around (4, 4), where cosines say little before training
from matching import MatchingNetwork
def tasks(t=8, ways=3, shots=1, queries=5):
    angle = 6.283 * (torch.rand(t, 1) + torch.arange(ways) / ways)
    def draw(n):
        a = angle.repeat(1, n)
        length = 0.2 + 3 * torch.rand(t, n * ways, 1)
        return 4 + length * torch.stack([a.cos(), a.sin()], -1), torch.arange(ways).repeat(t, n)
    return *draw(shots), *draw(queries)
def accuracy(model):
    sx, sy, qx, qy = tasks(200)
    with torch.no_grad():
        return (model.adapt(sx, sy)(qx).argmax(-1) == qy).float().mean().item()
for full_context in (False, True):
    torch.manual_seed(0)
    embed = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
    model = MatchingNetwork(embed, full_context, dim=8)
    before = accuracy(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        model.loss(*tasks()).backward()
        optimizer.step()
    after = accuracy(model)
    assert after > 0.9 and after > before + 0.05, (full_context, before, after)
""",
    "prototypical": """
import torch
from prototypical import PrototypicalNetwork
torch.manual_seed(0)
model = PrototypicalNetwork(torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8)))
"""
    + LOOP,
    "siamese": """
import torch
from siamese import SiameseNetwork
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
model = SiameseNetwork(net, dim=8)
"""
    + LOOP,
}


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_a_method_file_works_alone(file: Path, tmp_path: Path) -> None:
    assert file.stem in TRAIN, f"say in TRAIN how {file.stem} is trained on its own"
    shutil.copy(file, tmp_path)
    (tmp_path / "train.py").write_text(TRAIN[file.stem])
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_a_method_file_imports_torch_and_the_standard_library_alone(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        names = (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        )  # fmt: skip
        for name in names:
            top = name.partition(".")[0]
            assert top == "torch" or top in sys.stdlib_module_names, f"{file.name} imports {name}"
    longest = 160 if file.parent.name in ("model_based", "lstm_meta_learner") else 120
    assert len(file.read_text().splitlines()) < longest
