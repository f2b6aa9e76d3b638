"""Seeds of a Trainer's steps: an engine counts its own from 0, and is a new one after a resumption.

Noise with element addresses is keyed by run seed, step and sample, so every step is given the seed
under which the engine's step draws what the Trainer's step draws: splitmix64 can be undone. Torch
noise takes a seed as it is, so every step is given the key that an engine of its own would use.

MeZO and ZO2 draw the seed of a step from NumPy's global generator, below 10^9 (princeton-nlp/MeZO,
large_models/trainer.py, zo_step; liangyuwang/zo2, zo2/config/mezo_sgd.py). With a ``reference``
it is drawn there too; its state is in the Trainer's checkpoints.
"""

import numpy as np

from zo2rt.noise.keys import sample_key, seed_shifted
from zo2sim.plan.choices import Recipe

_PUBLISHED_SEEDS = 1_000_000_000


def seed_of_step(recipe: Recipe, run_seed: int, step: int, *, engine_step: int) -> int:
    """What the engine's step number ``engine_step`` takes so that it is the Trainer's ``step``.

    With a ``reference`` every call draws, whatever the numbers.
    """
    if recipe.reference != "none":
        return int(np.random.randint(_PUBLISHED_SEEDS))  # noqa: NPY002 - the codes' own generator
    if recipe.noise == "torch":
        return sample_key(run_seed, step, 0)
    return seed_shifted(run_seed, step - engine_step)
