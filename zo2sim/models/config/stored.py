"""The integer format that a published checkpoint keeps its linear layers in, by its config."""

from collections.abc import Mapping
from typing import Any, cast

from zo2sim.dtypes import Dtype

Table = Mapping[str, Any]


def stored_dtype(config: Mapping[str, object]) -> Dtype | None:
    """int8, int4, or int4_asym where groups have zero points; None of what is none of these.

    GPTQ, AWQ and compressed-tensors say it in ``quantization_config``.
    """
    about = config.get("quantization_config")
    if not isinstance(about, dict):
        return None
    table = cast(Table, about)
    way = _WAYS.get(str(table.get("quant_method")))
    bits, symmetric = (None, False) if way is None else way(table)
    if bits == 8:
        return Dtype.INT8
    return None if bits != 4 else Dtype.INT4 if symmetric else Dtype.INT4_ASYM


def _gptq(about: Table) -> tuple[object, bool]:
    return about.get("bits"), about.get("sym", True) is True


def _awq(about: Table) -> tuple[object, bool]:
    return about.get("bits"), about.get("zero_point", True) is False


def _compressed(about: Table) -> tuple[object, bool]:
    groups = about.get("config_groups")
    first = next(iter(cast(Table, groups).values()), None) if isinstance(groups, dict) else None
    weights = cast(Table, first).get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict) or about.get("format") != "pack-quantized":
        return None, False
    table = cast(Table, weights)
    return table.get("num_bits"), table.get("symmetric", True) is True


_WAYS = {"gptq": _gptq, "awq": _awq, "compressed-tensors": _compressed}
