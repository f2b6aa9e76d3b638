"""What a Trainer follows of all that it is given: one message for what it cannot, before a step."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from transformers import TrainingArguments

from zo2rt.backends import Backend
from zo2rt.engine import arguments
from zo2rt.engine.agreement import Agreement
from zo2rt.engine.assembly import Settings
from zo2rt.exchange import Exchange
from zo2rt.memory.room import UNLIMITED
from zo2rt.optimizer import MezoSgd, Objective
from zo2sim.plan import refusals
from zo2sim.plan.choices import Plan, Recipe

_LOG = logging.getLogger(__name__)

_FIRST_ORDER_LR = 5e-5
"""The learning rate of TrainingArguments where nobody gives one."""


def check(
    agreement: Agreement,
    plan: Plan,
    optimizer: Callable[[], MezoSgd],
    *,
    backend: Backend | None,
    exchange: Exchange,
    others: Mapping[str, Any],
) -> None:
    """Raise ``ValueError`` with all that cannot be followed; log what has no effect."""
    args, recipe = agreement.args, agreement.agreed
    found = [
        *arguments.refused(args),
        *agreement.differences(),
        *_elsewhere(args, plan, backend, others),
        *_combined(plan, recipe, optimizer, exchange),
    ]
    if found:  # alone it is no matter before `train`
        found.extend(_last_batch(others.get("train_dataset"), agreement.rows, args, recipe))
    _refuse(found)
    told = [*arguments.idle(args)]
    if told:
        _LOG.warning(f"set in the arguments, and without effect: {'; '.join(told)}")
    if args.learning_rate == _FIRST_ORDER_LR:
        _LOG.warning(
            f"learning_rate is {_FIRST_ORDER_LR}, the default, which is first-order training's; "
            "MeZO fine-tunes OPT-13B with 1e-7 or 1e-6 (arXiv:2305.17333)"
        )


def check_last_batch(data: object, args: TrainingArguments, recipe: Recipe) -> None:
    """Raise ``ValueError`` for data that came after the Trainer was made, and does not split."""
    _refuse([*_last_batch(data, args.train_batch_size, args, recipe)])


def followed(args: TrainingArguments, rows: int, rank: int = 0) -> TrainingArguments:
    """What the loop of transformers is to do: a step is one batch, and nothing is scaled.

    On another ``rank`` than the first it reads what one process reads, and writes nothing.
    """
    own = copy(args)
    own.per_device_train_batch_size, own.gradient_accumulation_steps = rows, 1
    own.fp16 = own.bf16 = False
    own.mixed_precision = "no"
    own.max_grad_norm = 0.0
    own.activation_checkpointing = own.gradient_checkpointing = False
    own.logging_nan_inf_filter = True
    own._n_gpu = min(1, args.n_gpu)
    if rank:
        assert args.distributed_state is not None, "PyTorch is there"
        own.distributed_state = SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
            distributed_type=args.distributed_state.distributed_type,
            num_processes=1,
            process_index=rank,
            local_process_index=rank,
        )
    own.dataloader_pin_memory = args.dataloader_pin_memory and args.device.type != "cpu"
    return own


def _refuse(reasons: Sequence[str]) -> None:
    if len(reasons) == 1:
        raise ValueError(reasons[0])
    if reasons:
        lines = "".join(f"\n  {reason}" for reason in reasons)
        raise ValueError(f"a zeroth-order step cannot follow {len(reasons)} things:{lines}")


def _elsewhere(
    args: TrainingArguments, plan: Plan, backend: Backend | None, others: Mapping[str, Any]
) -> Iterator[str]:
    """Where the step is made, and by whom."""
    if plan.tier == "nvme":
        yield (
            "tier must be ram: blocks on NVMe belong to a journal, which resumes by itself and not "
            "from the Trainer's checkpoints; use zo2rt.engine.engine, or tier=ram"
        )
    if args.world_size > 1:
        yield (
            f"accelerate must not see {args.world_size} processes, among which it would deal the "
            "examples: make the arguments inside `with zo2rt.exchange.joined() as exchange`, and "
            "give the Trainer the exchange"
        )
    if others.get("optimizers", (None, None))[0] or others.get("optimizer_cls_and_kwargs"):
        yield (
            "optimizers must not bring an optimizer; a schedule alone can be given in a callback"
        )
    if getattr(args.accelerator_config, "gradient_accumulation_kwargs", None):
        yield "accelerator_config must not accumulate; set gradient_accumulation_steps"
    if backend is not None and args.device.type != backend.device.type:
        yield (
            f"the Trainer's device must be the backend's, {backend.device.type}; it is "
            f"{args.device.type}; set use_cpu in the arguments, or leave the backend out"
        )


def _combined(
    plan: Plan, recipe: Recipe, optimizer: Callable[[], MezoSgd], exchange: Exchange
) -> Iterator[str]:
    """What plan, recipe and hyper-parameters say of each other: the first of every check."""

    in_ram = replace(plan, tier="ram")

    def settings() -> None:
        Settings(
            plan=in_ram,
            recipe=recipe,
            objective=Objective(example={}),
            optimizer=optimizer(),
            folder=None,
            limit=UNLIMITED,
            exchange=exchange,
        ).check()

    for combined in (lambda: refusals.check(in_ram, recipe), optimizer, settings):
        try:
            combined()
        except ValueError as error:
            yield str(error)
            return


def _last_batch(data: object, rows: int, args: TrainingArguments, recipe: Recipe) -> Iterator[str]:
    """Now what would end the first epoch: a last batch that does not split."""
    count = recipe.microbatches
    if args.dataloader_drop_last or not isinstance(data, Sized):
        return
    left = len(data) % rows
    if left % count:
        yield (
            f"the last batch of an epoch must split into {count} microbatches, and {len(data)} "
            f"examples leave it {left}; set dataloader_drop_last, or change the data by "
            f"{left % count}"
        )
