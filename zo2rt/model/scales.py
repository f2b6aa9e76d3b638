"""Scales as what trains (QZO, arXiv:2505.13430): codes stay, and every group's step is perturbed.

The scales of a weight are a parameter beside it, (rows, groups). Its noise has the weight's own
index, its name ends in `SCALES`, and it lives with the head as adapters do: blocks are frozen, and
only travel to the device. What they hold as scales there is what they were encoded with.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor, nn

from zo2rt.model.codec import scales_of
from zo2rt.model.units import Unit, UnitParameter, Units
from zo2sim.plan.choices import Recipe
from zo2sim.schedule.ops import HEAD

SCALES = ".scales"


def with_scales(units: Units, recipe: Recipe, weights: Callable[[UnitParameter], Tensor]) -> Units:
    """The units with every weight frozen, and the scales of encoded ones trained.

    ``weights`` gives what a parameter is to hold, one at a time. Raises ``ValueError`` where a
    weight that is to be encoded is not finite.
    """
    frozen = {unit.number: _frozen(unit) for unit in units.order}
    scales = {n: (*_scales(unit, recipe, weights),) for n, unit in frozen.items() if n >= 0}
    added = sorted((p for own in scales.values() for p in own), key=lambda p: p.index)
    by_number = {
        n: replace(unit, borrowed=(*unit.borrowed, *scales.get(n, ())))
        for n, unit in frozen.items()
    }
    head = by_number[HEAD]
    by_number[HEAD] = replace(
        head,
        parameters=(*head.parameters, *added),
        kept=head.kept | {p.name for p in added},
    )
    return replace(units, by_number=by_number)


def _frozen(unit: Unit) -> Unit:
    own, borrowed = (
        tuple(replace(p, trainable=False) for p in parameters)
        for parameters in (unit.parameters, unit.borrowed)
    )
    return replace(unit, parameters=own, borrowed=borrowed)


def _scales(
    unit: Unit, recipe: Recipe, weights: Callable[[UnitParameter], Tensor]
) -> Iterator[UnitParameter]:
    for p in unit.parameters:
        form = p.format(recipe.storage_dtype, recipe.plain_dtype)
        if form.dtype.is_integer:
            with p.named_in_errors():
                found = scales_of(weights(p), form)
            yield replace(
                p,
                name=p.name + SCALES,
                shape=tuple(found.shape),
                trainable=True,
                tensor=nn.Parameter(found, requires_grad=False),
            )
