"""Which kernel model a device gets: its own table, a sibling's, or its class's roofline.

The data files hold what `analysis.fits.kernels.fit` made of NVIDIA's measurements (AIConfigurator
095f58a, Apache-2.0; collected with vLLM 0.14.0); `python -m experiments.fit_kernels` writes them.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from zo2sim.cost.kernels.attention import AttentionRoofline
from zo2sim.cost.kernels.gemm import GemmRoofline
from zo2sim.cost.kernels.model import HoldOut, Kernel, KernelModel, R
from zo2sim.cost.kernels.residual import GridResidual
from zo2sim.cost.kernels.roofline import Array, Rates
from zo2sim.dtypes import Dtype
from zo2sim.machines.machine import KERNEL_TABLES, Machine

VALUE_UNIT = 1e-3  # corrections of log time are stored as whole multiples of it
CLASS = "class"


@cache
def table_model(gpu: str) -> KernelModel:
    """Kernel times of a measured device. Raises ``ValueError`` for a device without a table."""
    if gpu not in KERNEL_TABLES:
        raise ValueError(
            f"kernels of {', '.join(KERNEL_TABLES)} were measured; got {gpu!r}; "
            "use scaled_model(...) for another device"
        )
    content = _read(gpu)
    rates = content["rates"]
    return model_from_json(content, Rates(**rates), measured=True)


@cache
def scaled_model(
    peak_flops_per_s: float, memory_bytes_per_s: float, num_sms: int | None = None
) -> KernelModel:
    """Kernel times of a device without a table: the measured devices' roofline at its peak rates.

    Its hold-out errors are those of predicting each measured device from the other ones.
    """
    rates = Rates(flops_per_s=peak_flops_per_s, bytes_per_s=memory_bytes_per_s, num_sms=num_sms)
    return model_from_json(_read(CLASS), rates, measured=False)


def for_machine(machine: Machine) -> KernelModel:
    """The machine's table (or the one it names) at the machine's own rates, or its class's.

    Arithmetic takes as much longer as the machine's large product does, in long work if that is
    known (`Device.gemm_flops_per_s`, `Device.sustained_ratio`).
    """
    device = machine.device
    rates = Rates(
        flops_per_s=device.half_flops_per_s.value,
        bytes_per_s=device.memory_bytes_per_s.value,
        num_sms=int(device.num_sms.value),
    )
    gemm, ratio = device.gemm_flops_per_s, device.sustained_ratio
    return _levelled(
        device.kernel_table,
        rates,
        None if gemm is None else gemm.value,
        1.0 if ratio is None else ratio.value,
    )


def for_dtype(machine: Machine, dtype: Dtype) -> KernelModel:
    """The machine's kernels in a dtype; fp32 has no table and takes the roofline at its own rates.

    Raises ``ValueError`` when the device lacks the dtype.
    """
    device = machine.device
    if dtype is not Dtype.FP32:
        _ = device.flops_per_s(dtype)
        return for_machine(machine)
    rates = Rates(
        flops_per_s=device.fp32_flops_per_s.value,
        bytes_per_s=device.memory_bytes_per_s.value / 2,  # tables count 2 bytes per element
        num_sms=int(device.num_sms.value),
    )
    gemm = device.fp32_gemm_flops_per_s
    return _levelled(None, rates, None if gemm is None else gemm.value, 1.0)


def model_from_json(content: Mapping[str, Any], rates: Rates, *, measured: bool) -> KernelModel:
    """The inverse of `analysis.fits.kernels.file.file_text`, at the given rates."""
    gemm, attention = content["gemm"], content["attention"]
    return KernelModel(
        name=content["name"],
        source=content["source"],
        measured=measured,
        rates=rates,
        gemm=_kernel(GemmRoofline(**gemm["roofline"]), gemm),
        attention=_kernel(AttentionRoofline(**attention["roofline"]), attention),
    )


@cache
def _levelled(table: str | None, rates: Rates, reached: float | None, ratio: float) -> KernelModel:
    """One model per device, so that cached times are found again."""
    if table is None:
        model = scaled_model(rates.flops_per_s, rates.bytes_per_s, rates.num_sms)
    else:
        model = table_model(table).with_rates(rates)
    if reached is not None:
        model = model.with_large_gemm(reached)
    return model if ratio == 1.0 else model.in_long_work(ratio)


def _read(name: str) -> dict[str, Any]:
    return json.loads((files("zo2sim") / "data" / "kernels" / f"{name}.json").read_text("utf-8"))


def _kernel(roofline: R, content: Mapping[str, Any]) -> Kernel[R]:
    residual = content.get("residual")
    return Kernel(
        roofline=roofline,
        residual=None if residual is None else _residual(residual),
        errors={region: HoldOut(**errors) for region, errors in content["errors"].items()},
    )


def _residual(content: Mapping[str, Any]) -> GridResidual:
    first, second, third = (_numbers(axis) for axis in content["axes"])
    values: Array = np.concatenate([_numbers(plane) for plane in content["values"]]) * VALUE_UNIT
    return GridResidual(
        axes=(first, second, third),
        values=values.reshape(first.size, second.size, third.size),
    )


def _numbers(text: str) -> Array:
    return np.array(text.split(), dtype=np.float64)
