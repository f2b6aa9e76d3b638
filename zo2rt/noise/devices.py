"""One front for every device: the kernels that run are those of the device that the buffers are on.

numba on the CPU, Triton on an accelerator. Triton is imported at the first call that needs it,
because not every machine has it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from zo2rt.noise import cpu
from zo2rt.noise.buffers import Buffer, check_equal_lengths, device_of
from zo2rt.noise.place import Kind, Place
from zo2rt.noise.record import Record


def perturb(
    out: Buffer, theta: Buffer, place: Place, *, key: int, coefficient: float, kind: Kind
) -> None:
    """``out = rn(theta + c z)``, where rn rounds to the format of ``out``.

    ``coefficient`` is c, usually eps or -eps. The buffers are contiguous, on one device, and may
    differ in format; they are the same memory or do not overlap. On the CPU the call releases the
    GIL; on an accelerator it launches on the current stream and waits for nothing.
    """
    check_equal_lengths(out, theta)
    kernels = _kernels(out, theta)
    kernels.perturb((out,), theta, place, key=key, coefficient=coefficient, kind=kind)


def perturb_pair(  # noqa: PLR0913 - what two calls of `perturb` take
    plus: Buffer,
    minus: Buffer,
    theta: Buffer,
    place: Place,
    *,
    key: int,
    coefficient: float,
    kind: Kind,
) -> None:
    """``plus = rn(theta + c z)`` and ``minus = rn(theta - c z)``, with z drawn once.

    The bits of two calls of `perturb`, with c and with -c. ``plus`` and ``minus`` do not overlap;
    either of them may be ``theta``.
    """
    check_equal_lengths(plus, minus, theta)
    kernels = _kernels(plus, minus, theta)
    kernels.perturb((plus, minus), theta, place, key=key, coefficient=coefficient, kind=kind)


def update(
    theta: Buffer,
    place: Place,
    *,
    records: Sequence[Record],
    kind: Kind,
    stochastic_rounding: bool = False,
) -> None:
    """Apply the records to ``theta`` in the order given, in one pass, rounding after each.

    A pass over several records gives the bits of one pass per record. Skipped records do nothing.
    ``stochastic_rounding`` concerns fp16 and bf16; fp32 has nothing to round.
    """
    kernels = _kernels(theta)
    kernels.update(
        theta, place, records=records, kind=kind, stochastic_rounding=stochastic_rounding
    )


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
