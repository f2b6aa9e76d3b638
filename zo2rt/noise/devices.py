"""One front for every device: the kernels that run are those of the device that the buffers are on.

numba on the CPU, Triton on an accelerator. Triton is imported at the first call that needs it,
because not every machine has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from zo2rt.noise import cpu
from zo2rt.noise.buffers import Buffer, check_equal_lengths, device_of
from zo2rt.noise.extent import Distribution, Extent
from zo2rt.noise.updates import Update, Updates


@dataclass(frozen=True, slots=True)
class Prepared:
    """Buffers and their place, looked at once, for kernels that run on them again and again.

    What a call looks up and checks anew takes 50 us on a CPU, as long as the noise of 25,000
    elements; a prepared one takes a tenth of that.
    """

    _kernels: Any
    _operands: Any

    def perturb(self, *, key: int, coefficient: float) -> None:
        """`perturb` of (out, theta), or `perturb_pair` of (plus, minus, theta)."""
        self._kernels.perturb(self._operands, key=key, coefficient=coefficient)

    def update(self, updates: Updates, *, stochastic_rounding: bool = False) -> None:
        """`update` of theta alone."""
        if updates.ends.size:
            self._kernels.update(self._operands, updates, stochastic_rounding=stochastic_rounding)


def prepared(*buffers: Buffer, place: Extent, kind: Distribution) -> Prepared:
    """Theta, behind what is built from it. Keeps the buffers' memory alive."""
    check_equal_lengths(*buffers)
    kernels = _kernels(*buffers)
    return Prepared(kernels, kernels.operands(buffers, place, kind))


def perturb(
    out: Buffer, theta: Buffer, place: Extent, *, key: int, coefficient: float, kind: Distribution
) -> None:
    """``out = rn(theta + c z)``, where rn rounds to the format of ``out``.

    ``coefficient`` is c, usually eps or -eps. The buffers are contiguous, on one device, and may
    differ in format; they are the same memory or do not overlap. On the CPU the call releases the
    GIL; on an accelerator it launches on the current stream and waits for nothing.
    """
    prepared(out, theta, place=place, kind=kind).perturb(key=key, coefficient=coefficient)


def perturb_pair(  # noqa: PLR0913 - what two calls of `perturb` take
    plus: Buffer,
    minus: Buffer,
    theta: Buffer,
    place: Extent,
    *,
    key: int,
    coefficient: float,
    kind: Distribution,
) -> None:
    """``plus = rn(theta + c z)`` and ``minus = rn(theta - c z)``, with z drawn once.

    The bits of two calls of `perturb`, with c and with -c. ``plus`` and ``minus`` do not overlap;
    either of them may be ``theta``.
    """
    taken = prepared(plus, minus, theta, place=place, kind=kind)
    taken.perturb(key=key, coefficient=coefficient)


def update(
    theta: Buffer,
    place: Extent,
    *,
    updates: Sequence[Update],
    kind: Distribution,
    stochastic_rounding: bool = False,
) -> None:
    """Apply the updates to ``theta`` in the order given, in one pass, rounding after each.

    A pass over several gives the bits of one pass each. ``stochastic_rounding`` concerns fp16 and
    bf16; fp32 has nothing to round.
    """
    taken = prepared(theta, place=place, kind=kind)
    taken.update(Updates.of(updates), stochastic_rounding=stochastic_rounding)


def _kernels(*buffers: Buffer) -> Any:
    """The module that holds the kernels for the device of the buffers."""
    device = device_of(*buffers)
    if device.type in ("cpu", "meta"):  # weights without memory are refused by name there
        return cpu
    try:
        return import_module("zo2rt.noise.accelerator")
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise RuntimeError(
            f"noise for weights on {device} needs the package 'triton', which is not installed "
            "here: install it, or keep the weights on the CPU"
        ) from error
