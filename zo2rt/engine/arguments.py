"""What every field of `transformers.TrainingArguments` means to a zeroth-order step: one table.

A field is followed, refused where it is set away from its default, or warned of there. A default
asks for nothing: those of transformers are first-order training's (``optim`` is AdamW).
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache

from transformers import TrainingArguments


def _named(text: str, why: str = "") -> dict[str, str]:
    return dict.fromkeys(text.split(), why)


FOLLOWED = frozenset(
    _named(
        # the step
        "per_device_train_batch_size gradient_accumulation_steps num_train_epochs max_steps "
        "learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio "
        "weight_decay label_smoothing_factor bf16 fp16 tf32 seed data_seed full_determinism "
        "use_cpu "
        # its data
        "dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_in_order "
        "dataloader_persistent_workers dataloader_prefetch_factor accelerator_config "
        "dataloader_multiprocessing_context remove_unused_columns label_names ignore_data_skip "
        "train_sampling_strategy group_by_length length_column_name include_num_input_tokens_seen "
        # what is told
        "output_dir run_name project logging_dir logging_strategy logging_steps "
        "logging_first_step log_level log_level_replica log_on_each_node disable_tqdm report_to "
        "skip_memory_metrics trackio_space_id trackio_bucket_id trackio_static_space_id "
        # what is judged
        "do_train do_eval do_predict eval_strategy eval_steps eval_delay eval_on_start "
        "per_device_eval_batch_size prediction_loss_only eval_do_concat_batches "
        "eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics "
        "metric_for_best_model greater_is_better load_best_model_at_end "
        # what is kept
        "save_strategy save_steps save_total_limit save_only_model save_on_each_node "
        "enable_jit_checkpoint resume_from_checkpoint restore_callback_states_from_checkpoint "
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push "
        "hub_revision local_rank"
    )
)
"""As ever. Some are of some versions of transformers alone."""

REFUSED: Mapping[str, str] = {
    **_named(
        "optim optim_args optim_target_modules adam_beta1 adam_beta2 adam_epsilon",
        "the step is MeZO's, and has no moments and no other optimizer in it",
    ),
    "max_grad_norm": "there is no gradient whose norm could be bounded; bound the projected "
    "gradient with estimator=Estimator(clip=...)",
    "neftune_noise_alpha": "its noise is that of training mode, and lanes run in eval mode",
    **_named(
        "bf16_full_eval fp16_full_eval",
        "evaluation streams the weights that are trained, in the recipe's formats",
    ),
    **_named(
        "torch_compile torch_compile_backend torch_compile_mode use_liger_kernel "
        "liger_kernel_config",
        "blocks are exchanged under the modules that the model came with",
    ),
    "auto_find_batch_size": "whether there is room is known, and said, before the first step",
    **_named(
        "fsdp fsdp_config deepspeed parallelism_config", "one process makes the step, on one device"
    ),
    "debug": "its hooks read weights that are elsewhere between two steps",
}
"""Fields that change what is trained or where, each with why that cannot be."""

WARNED: Mapping[str, str] = {
    **_named(
        "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing "
        "gradient_checkpointing_kwargs",
        "nothing is kept for a backward pass",
    ),
    "use_cache": "lanes keep no keys and values",
    "torch_empty_cache_steps": "buffers are allocated once",
    "logging_nan_inf_filter": "skipped steps are counted, and left out of the mean loss",
    **_named(
        "average_tokens_across_devices ddp_find_unused_parameters ddp_bucket_cap_mb "
        "ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout",
        "there is one process",
    ),
}
"""Fields that are about what a step has not, each with what."""

_ALSO = {"max_grad_norm": 0}  # says of itself that it asks for nothing


def refused(args: TrainingArguments) -> Iterator[str]:
    """A reason for every field that was set and cannot be followed."""
    for name, why in REFUSED.items():
        if _is_set(args, name):
            yield f"{name} must be left as it is: {why}; got {getattr(args, name)!r}"


def idle(args: TrainingArguments) -> Iterator[str]:
    """A line for every field that was set and has no effect; those of others are such."""
    known = FOLLOWED | REFUSED.keys()
    for name in (f.name for f in fields(args) if f.name not in known):
        if _is_set(args, name):
            yield f"{name}: {WARNED.get(name, 'this Trainer does not know it')}"


def _is_set(args: TrainingArguments, name: str) -> bool:
    """Nothing, off and empty are one: arguments turn one into another."""
    value, default = getattr(args, name, None), getattr(_untouched(), name, None)
    return (value or None) != (default or None) and (name, value) not in _ALSO.items()


@cache
def _untouched() -> TrainingArguments:
    """What nobody has set, as this version of transformers fills it in."""
    return TrainingArguments("untouched")
