"""A `transformers.Trainer` on every rank."""

from pathlib import Path

from tests.families import build
from tests.zo2rt.engine.test_trainer import HOW, PLAN, Tokens, arguments
from zo2rt.backends import VirtualBackend
from zo2rt.engine.trainer import ZerothOrderTrainer
from zo2rt.exchange import Exchange
from zo2rt.tensor_file import weights_sha256


def trains(exchange: Exchange, folder: Path) -> tuple[str, list[dict[str, float]], int]:
    """Digest of the weights, the log without its clock, and how often it evaluated."""
    model = build("opt")
    args = arguments(
        folder, eval_strategy="steps", eval_steps=3, save_strategy="steps", save_steps=3
    )
    with VirtualBackend() as backend:
        trainer = ZerothOrderTrainer(
            model,
            args,
            backend=backend,
            plan=PLAN,
            recipe=HOW,
            train_dataset=Tokens(),
            eval_dataset=Tokens(4),
            exchange=exchange,
        )
        trainer.train()
    kept = ("loss", "learning_rate", "projected_gradient", "eval_loss", "step", "epoch")
    log = [{k: v for k, v in entry.items() if k in kept} for entry in trainer.state.log_history]
    return weights_sha256(model.named_parameters()), log, len(log)
