"""First-order training as schedules in the same IR: generated, verified, priced and simulated.

    predict(TrainingCase(model=..., machine=..., training=Training(method=Method.ZERO_OFFLOAD)))

These are what zeroth-order fine-tuning is compared with. They are not executed.
"""

from zo2sim.baselines.budget import CONVERGENCE, FIRST_ORDER, ZEROTH_ORDER, Budget
from zo2sim.baselines.memory import account
from zo2sim.baselines.predict import TrainingCase, TrainingPrediction, predict
from zo2sim.baselines.schedules import build
from zo2sim.baselines.training import HOMES, Homes, Method, Training
from zo2sim.baselines.versions import check_training

__all__ = [
    "CONVERGENCE",
    "FIRST_ORDER",
    "HOMES",
    "ZEROTH_ORDER",
    "Budget",
    "Homes",
    "Method",
    "Training",
    "TrainingCase",
    "TrainingPrediction",
    "account",
    "build",
    "check_training",
    "predict",
]
