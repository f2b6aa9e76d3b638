"""Perturbation and update on the host, in any storage format, with the bits of the reference."""

from collections.abc import Sequence

import numpy as np

from zo2rt.noise import kernels
from zo2rt.noise.buffers import Buffer, bits, check_equal_lengths
from zo2rt.noise.place import Kind, Place, check_kind
from zo2rt.noise.record import Record
from zo2rt.noise.table import quantiles
from zo2sim.dtypes import Dtype

_CODES = {Dtype.FP32: kernels.FP32, Dtype.FP16: kernels.FP16, Dtype.BF16: kernels.BF16}


def perturb(
    out: Buffer, theta: Buffer, place: Place, *, key: int, coefficient: float, kind: Kind
) -> None:
    """``out = rn(theta + c z)``, where rn rounds to the format of ``out``.

    ``coefficient`` is c, usually eps or -eps. The buffers may differ in format; they are the same
    memory or do not overlap. Releases the GIL and allocates 20 KiB.
    """
    check_equal_lengths(out, theta)
    source = _source(place, kind)
    kernels.perturb(_stored(out), _stored(theta), source, np.uint64(key), np.float32(coefficient))


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
    either of them may be ``theta``. Releases the GIL and allocates 28 KiB.
    """
    check_equal_lengths(plus, minus, theta)
    source = _source(place, kind)
    c = np.float32(coefficient)
    kernels.perturb_pair(_stored(plus), _stored(minus), _stored(theta), source, np.uint64(key), c)


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
    source = _source(place, kind)
    applied = [record for record in records if not record.skipped]
    if applied:
        kernels.update(_stored(theta), source, _updates(applied), stochastic_rounding)


def _stored(buffer: Buffer) -> kernels.Stored:
    raw, dtype = bits(buffer)
    return kernels.Stored(raw, _CODES[dtype])


def _source(place: Place, kind: Kind) -> kernels.Source:
    check_kind(kind)
    first, p = np.uint64(place.first_element), np.uint64(place.p)
    return kernels.Source(first, p, quantiles(), kind == "gaussian")


def _updates(records: Sequence[Record]) -> kernels.Updates:
    return kernels.Updates(
        keys=np.array([k for record in records for k in record.sample_keys], dtype=np.uint64),
        coefficients=np.array(
            [a for record in records for a in record.coefficients], dtype=np.float32
        ),
        ends=np.cumsum([len(record.sample_keys) for record in records]),
        decays=np.array([record.decay for record in records], dtype=np.float32),
    )
