"""Checkpoints that others have quantised, as the dense weights that they stand for.

`zo2rt.model.integers.published` says what a layer of GPTQ, AWQ or compressed-tensors
(pack-quantized) means; here its tensors become one ``weight``, decoded when it is read, in the
format of its scales. That is what transformers computes with these layers.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from zo2rt.checkpoint.stored import Stored, Tensors
from zo2rt.model.integers.published import Quantised, awq, gptq, pack_quantized
from zo2sim.checks import shown

QUANTISED = ("quantization_config", "compression_config")
"""Keys of a config that say how weights are quantised; the model itself is built without them."""

Parts = Mapping[str, Stored]
"""The tensors of one layer, by the last part of their names."""

_GPTQ_VERSIONS = {"gptq": 1, "gptq_v2": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How layers are stored: the tensors that each has, codes first, and those that it may have.

    ``order`` is the one that says which input is in which group. ``shape`` is (out, in) of a
    layer's weight; ``group`` weights along an input share a scale, or all of them where it is None.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    scales: str
    order: str | None
    shape: Callable[[Parts], tuple[int, int]]
    decode: Callable[[Mapping[str, Tensor]], Quantised]
    group: int | None


def quantised(config: Mapping[str, Any], tensors: Tensors) -> Tensors | None:
    """Every quantised layer as its weight; None where the checkpoint is not, or in another way.

    Raises ``ValueError`` for what such a checkpoint holds and this does not read.
    """
    about = next((config[key] for key in QUANTISED if config.get(key) is not None), None)
    method = None if about is None else method_of(about)
    if method is None:
        return None
    found, layers = dict[str, Stored](), defaultdict[str, dict[str, Stored]](dict)
    for name, one in tensors.items():
        layer, _, leaf = name.rpartition(".")
        known = leaf in (*method.needed, *method.optional)
        if known and f"{layer}.{method.needed[0]}" in tensors:
            layers[layer][leaf] = one
        else:
            found[name] = one
    return found | {f"{layer}.weight": _weight(layer, p, method) for layer, p in layers.items()}


def method_of(about: Mapping[str, Any]) -> Method | None:
    """What a config's table says; None for a method that is not read here."""
    known = {"gptq": _gptq, "awq": _awq, "compressed-tensors": _compressed}
    make = known.get(str(about.get("quant_method")))
    return None if make is None else make(about)


def _gptq(about: Mapping[str, Any]) -> Method:
    bits = _one_of(about, "bits", (2, 4, 8))
    form = _one_of(about, "checkpoint_format", (*_GPTQ_VERSIONS,), "gptq")
    if about.get("dynamic"):
        raise _refused("dynamic", "left out: layers must be quantised alike", about["dynamic"])
    return Method(
        needed=("qweight", "qzeros", "scales"),
        optional=("g_idx",),
        scales="scales",
        order="g_idx",
        shape=lambda p: (p["qweight"].shape[1], p["qweight"].shape[0] * 32 // bits),
        decode=partial(gptq, bits=bits, version=_GPTQ_VERSIONS[form]),
        group=_group(about.get("group_size")),
    )


def _awq(about: Mapping[str, Any]) -> Method:
    _one_of(about, "bits", (4,))
    _one_of(about, "version", ("gemm",), "gemm")
    _one_of(about, "zero_point", (True,), True)
    return Method(
        needed=("qweight", "qzeros", "scales"),
        scales="scales",
        order=None,
        shape=lambda p: (p["qweight"].shape[1] * 8, p["qweight"].shape[0]),
        decode=awq,
        group=_group(about.get("group_size")),
    )


def _compressed(about: Mapping[str, Any]) -> Method:
    _one_of(about, "format", ("pack-quantized",))
    groups = about.get("config_groups") or {}
    if len(groups) != 1 or about.get("kv_cache_scheme") is not None:
        raise _refused(
            "config_groups", "one, without a kv_cache_scheme: layers quantised alike", [*groups]
        )
    (group,) = groups.values()
    if group.get("input_activations") or group.get("output_activations"):
        raise _refused("input_activations", "none: activations are computed as they are", group)
    weights = group.get("weights") or {}
    bits = _one_of(weights, "num_bits", (4, 8))
    _one_of(weights, "type", ("int",), "int")
    _one_of(weights, "strategy", ("group", "channel"))
    return Method(
        needed=("weight_packed", "weight_scale", "weight_shape"),
        optional=("weight_zero_point", "weight_g_idx"),
        scales="weight_scale",
        order="weight_g_idx",
        shape=_written_shape,
        decode=partial(pack_quantized, bits=bits),
        group=_group(weights.get("group_size")),
    )


def _written_shape(parts: Parts) -> tuple[int, int]:
    out, length = (int(n) for n in parts["weight_shape"].read().tolist())
    return out, length


def _weight(layer: str, parts: Parts, method: Method) -> Stored:
    missing = [name for name in method.needed if name not in parts]
    if missing:
        raise ValueError(
            f"{parts[method.needed[0]].files[0]}: {layer} must have {missing[0]}, as every layer "
            f"of its format; it has {', '.join(sorted(parts))}"
        )
    shape = method.shape(parts)
    if method.group and method.order not in parts and shape[1] % method.group:
        raise ValueError(
            f"{layer}: inputs must be in whole groups of {method.group}; there are {shape[1]}"
        )
    return Stored(
        name=f"{layer}.weight",
        shape=shape,
        dtype=parts[method.scales].dtype,
        files=tuple(dict.fromkeys(path for one in parts.values() for path in one.files)),
        read=partial(_read, layer, parts, method),
    )


def _read(layer: str, parts: Parts, method: Method) -> Tensor:
    try:
        return method.decode({name: one.read() for name, one in parts.items()}).weights()
    except ValueError as error:
        raise ValueError(f"{parts[method.needed[0]].files[0]}: {layer}: {error}") from None


def _group(size: object) -> int | None:
    return size if isinstance(size, int) and size > 0 else None


def _one_of(about: Mapping[str, Any], key: str, known: tuple[Any, ...], usual: Any = None) -> Any:
    value = about.get(key, usual)
    if value not in known:
        raise _refused(key, f"one of {', '.join(map(str, known))}", value)
    return value


def _refused(key: str, must: str, got: object) -> ValueError:
    return ValueError(
        f"{key} of the config's quantization must be {must}; got {shown(got)}; convert the folder "
        "to dense weights, or to such a format, first"
    )
