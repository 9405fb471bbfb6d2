"""mlbook: meta-learning methods to read, run and copy.

from mlbook import evaluate, fit, load
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4

train, val, test = load("omniglot").split("characters", seed=0)
model = PrototypicalNetwork(Conv4())
fit(model, train.episodes(ways=20, shots=1, queries=5), steps=2000)
print(evaluate(model, test.episodes(ways=5, shots=1, queries=15)))
"""

from mlbook.data import load
from mlbook.episodes import Dataset, Episode, Episodes
from mlbook.evaluate import Result, evaluate
from mlbook.fit import History, fit
from mlbook.pretrained import load_pretrained

__version__ = "0.1.0"
__all__ = [
    "Dataset",
    "Episode",
    "Episodes",
    "History",
    "Result",
    "evaluate",
    "fit",
    "load",
    "load_pretrained",
]
