"""Noise passes: applying updates and building W+ and W-, on the device and on the host."""

import numpy as np

from zo2sim.cost.setting import Setting
from zo2sim.dtypes import Dtype
from zo2sim.simulate.work import Number, Resource, Work

UNFUSED_PERTURB_BYTES = 8
"""Element accesses of one unfused perturbation: write z; read z, write s z; read, write times
eps; read, read, write theta."""
UNFUSED_UPDATE_BYTES = 13
"""The same for an update: z 1, g z 2, wd theta 2, their sum 3, times lr 2, theta minus it 3."""
UNFUSED_PERTURB_KERNELS = 4
UNFUSED_UPDATE_KERNELS = 6

IN_PLACE_BUILDS = {"+-": 3, "+": 1, "-": 2}
"""+eps, -2 eps, +eps: the trip of W- also restores."""


def update(s: Setting, unit: int, records: int) -> Work:
    """Replay records in one pass over the weights; each draws its own noise."""
    elements = s.trained(unit)
    if records == 0 or elements == 0:
        return Work(amounts={})
    size = s.recipe.plain_dtype.bytes
    draws = elements * records * s.load.samples
    if s.unfused:
        kernels = UNFUSED_UPDATE_KERNELS * len(s.unit(unit).parameters)
        nbytes = UNFUSED_UPDATE_BYTES * elements * size * s.load.samples
        return _compute(_pass_s(s, nbytes, draws, kernels))
    return _compute(_pass_s(s, 2 * elements * size, draws, 1))


def host_update(s: Setting, unit: int, records: int) -> Work:
    """Draw the noise, read and write the weights; every core takes part."""
    if records == 0:
        return Work(amounts={})
    draws = s.trained(unit) * records * s.load.samples
    rate = s.machine.host.update_elements_per_s(s.recipe.noise).value
    nbytes = 2 * s.unit_bytes(unit, s.recipe.storage_dtype)
    return Work(amounts={Resource.CPU: draws / rate, Resource.DRAM: nbytes})


def build_s(s: Setting, unit: int, lanes: str) -> Number:
    """Seconds to build W+ and W- in scratch, or to perturb in place, for every sample.

    Frozen weights are only brought to the compute dtype, once for all lanes.
    """
    elements = s.perturbed(unit)
    decoded = s.recipe.frozen_blocks and not s.recipe.trains_scales
    build_s = s.load.samples * _builds_s(s, unit, elements, lanes) if elements else 0.0
    return build_s + (decode_s(s, unit) if decoded else 0.0)


def build(s: Setting, unit: int, lanes: str) -> Work:
    """The same, ahead of the lanes."""
    return _compute(build_s(s, unit, lanes))


def rescale_s(s: Setting, unit: int, lanes: str) -> Number:
    """What a trained scale takes of the lanes that run with it: codes are decoded for each sign."""
    return s.decodes(lanes) * decode_s(s, unit) if s.recipe.trains_scales else 0.0


def decode_s(s: Setting, unit: int) -> Number:
    """Unperturbed weights from the format that the device holds to the compute dtype."""
    held, compute = held_dtype(s, unit), s.recipe.compute_dtype
    if held is compute:
        return 0.0
    if not held.is_integer:
        return _pass_s(s, s.unit(unit).elements * (held.bytes + compute.bytes), 0, 1)
    taken, plain = s.unit(unit).decoded(held), s.recipe.plain_dtype
    read = sum(p.format(held, plain).num_bytes(p.shape) for p in taken.parameters)
    return _pass_s(s, read + taken.elements * compute.bytes, 0, len(taken.parameters))


def held_dtype(s: Setting, unit: int) -> Dtype:
    """What the device holds: head and tail as they are stored, a block in the wire's format."""
    return s.recipe.wire_dtype if unit >= 0 else s.recipe.plain_dtype


def _builds_s(s: Setting, unit: int, elements: int, lanes: str) -> Number:
    held, written = held_dtype(s, unit), s.recipe.compute_dtype.bytes
    read = s.recipe.plain_dtype.bytes if held.is_integer else held.bytes  # adapters are no integers
    in_place = s.recipe.perturbation == "in_place"
    builds = IN_PLACE_BUILDS[lanes] if in_place else len(lanes)
    if s.unfused:
        kernels = UNFUSED_PERTURB_KERNELS * len(s.unit(unit).parameters)
        return builds * _pass_s(s, UNFUSED_PERTURB_BYTES * elements * read, elements, kernels)
    if in_place:
        return builds * _pass_s(s, 2 * elements * read, elements, 1)
    if not s.plan.policy.traits.streams and s.recipe.recoded and unit >= 0:
        read += s.recipe.storage_dtype.bytes + read  # the codec, applied on the device
    if s.draws_once(unit, lanes):
        return _pass_s(s, elements * (read + 2 * written), elements, 1)
    return builds * _pass_s(s, elements * (read + written), elements, 1)


def _pass_s(s: Setting, nbytes: Number, draws: Number, kernels: Number) -> Number:
    """An element-wise pass: memory, noise arithmetic or launches, whichever is slowest."""
    device = s.machine.device
    noise = "torch" if s.unfused else s.recipe.noise
    return np.maximum(
        np.maximum(
            nbytes / device.pass_bytes_per_s,
            draws / device.noise_elements_per_s(noise).value,
        ),
        kernels * device.launch_s.value,
    )


def _compute(seconds: Number) -> Work:
    return Work(amounts={Resource.COMPUTE: seconds})
