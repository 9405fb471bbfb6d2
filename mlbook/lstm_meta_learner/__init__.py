"""The LSTM as learner: of an update rule, of an optimizer, of whatever a sequence asks for."""

from mlbook.lstm_meta_learner.learned_optimizer import LearnedOptimizer
from mlbook.lstm_meta_learner.meta_lstm import MetaLSTM
from mlbook.lstm_meta_learner.recurrent_learner import RecurrentAgent, RecurrentLearner
from mlbook.lstm_meta_learner.recurrent_policy import RecurrentPolicy

__all__ = ["LearnedOptimizer", "MetaLSTM", "RecurrentAgent", "RecurrentLearner", "RecurrentPolicy"]
