"""One recipe of what a Trainer's arguments, its model and the caller's recipe say together.

Where a recipe says nothing of its own (a field has its default), the arguments and the model do:
rows and microbatches, and the formats. Where both speak they must agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn
from transformers import TrainingArguments

from zo2rt.model.codec import TORCH_DTYPES
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Recipe

_SILENT = Recipe()
_FORMATS = ("storage_dtype", "wire_dtype", "compute_dtype")
_PRECISIONS = {"fp16": Dtype.FP16, "bf16": Dtype.BF16}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a step of the arguments reads, and in which formats the model is computed."""

    args: TrainingArguments
    recipe: Recipe
    model: nn.Module

    @property
    def rows(self) -> int:
        """Rows of one step, which has the microbatches of an accumulated gradient."""
        return self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps

    @property
    def agreed(self) -> Recipe:
        """The recipe of the run; of use where there are no `differences`."""
        microbatches = self._microbatches
        rows = {"batch": max(1, self.rows // microbatches), "microbatches": microbatches}
        return replace(self.recipe, **rows, **self._formats)

    def differences(self) -> Iterator[str]:
        """A reason for everything about which they do not agree."""
        yield from self._of_rows()
        yield from self._of_formats()

    @property
    def _microbatches(self) -> int:
        own = self.recipe.microbatches
        return self.args.gradient_accumulation_steps if own == _SILENT.microbatches else own

    def _of_rows(self) -> Iterator[str]:
        own, microbatches = self.recipe, self._microbatches
        accumulated = self.args.gradient_accumulation_steps
        product = "per_device_train_batch_size x gradient_accumulation_steps"
        if accumulated not in (1, microbatches):
            yield (
                f"gradient_accumulation_steps must be the recipe's microbatches, {microbatches}, "
                f"or 1; got {accumulated}; set one of them"
            )
        elif self.rows % microbatches:
            yield f"{product} must be a multiple of {microbatches} microbatches; got {self.rows}"
        elif own.batch not in (_SILENT.batch, self.agreed.batch):
            yield (
                f"{product} must be batch x microbatches of the recipe, "
                f"{own.batch * microbatches}; got {self.rows}; leave Recipe.batch out to take what "
                f"the arguments say"
            )

    @property
    def _stored(self) -> Dtype | None:
        """The model's format, by its first parameter; the engine looks at all of them."""
        first = next(self.model.parameters(), None)
        known = {torch: dtype for dtype, torch in TORCH_DTYPES.items() if dtype is not Dtype.FP8}
        return None if first is None else known.get(first.dtype)

    @property
    def _precision(self) -> Dtype | None:
        return _PRECISIONS.get(self.args.mixed_precision)

    @property
    def _speaks(self) -> bool:
        return any(getattr(self.recipe, name) is not getattr(_SILENT, name) for name in _FORMATS)

    @property
    def _formats(self) -> dict[str, Dtype]:
        stored = self._stored
        if stored is None or self._speaks:
            return {}
        return dict.fromkeys(_FORMATS, stored) | {"compute_dtype": self._precision or stored}

    def _of_formats(self) -> Iterator[str]:
        stored, precision, own = self._stored, self._precision, self.recipe
        if stored is None:
            kinds = sorted({str(p.dtype) for p in self.model.parameters()})
            yield f"the model must be in fp32, fp16 or bf16; got {', '.join(kinds) or 'no weights'}"
        elif self._speaks and stored is not own.plain_dtype:
            field = "compute_dtype" if own.storage_dtype.is_integer else "storage_dtype"
            yield (
                f"the model must be in the recipe's {field}, {own.plain_dtype}; it is in "
                f"{stored}; convert it, or leave the dtypes of the recipe out"
            )
        if self.args.mixed_precision not in ("no", *_PRECISIONS):
            yield f"mixed precision must be bf16 or fp16; got {self.args.mixed_precision}"
        if self._speaks and precision not in (None, own.compute_dtype):
            yield (
                f"{self.args.mixed_precision} must be what the recipe computes in, "
                f"{own.compute_dtype}; leave one of them out"
            )
