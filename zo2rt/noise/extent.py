"""Which noise a flat buffer takes: its parameter, where in it the buffer begins, its threshold."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

Distribution = Literal["gaussian", "rademacher"]
"""The element-addressable distributions of z."""

_LARGEST_FP32 = (2 - 2**-23) * 2.0**127


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A run of elements of one parameter, row-major in its logical shape."""

    p: int
    """Index among the de-duplicated ``named_parameters()`` of the whole model."""
    first_element: int = 0
    """Element of the parameter that the buffer's first element is."""
    threshold: float = math.inf
    """h of Sparse-MeZO, rounded to fp32: weights larger than that stay. Infinity means dense."""

    def __post_init__(self) -> None:
        if not 0 <= self.p < 2**32:
            raise ValueError(f"p must be a parameter's index in 0 .. 2^32 - 1; got {self.p!r}")
        if not 0 <= self.first_element < 2**63:
            raise ValueError(f"first_element must be in 0 .. 2^63 - 1; got {self.first_element!r}")
        if not (0.0 <= self.threshold <= _LARGEST_FP32 or self.threshold == math.inf):
            raise ValueError(
                f"p = {self.p}: a threshold must be >= 0 and finite in fp32, or infinity for a "
                f"dense parameter; got {self.threshold!r}"
            )

    def advanced(self, num_elements: int) -> "Extent":
        """The place ``num_elements`` further on in the same parameter."""
        return replace(self, first_element=self.first_element + num_elements)


def check_kind(kind: str) -> None:
    """Refuse a distribution that has no element addresses."""
    if kind not in get_args(Distribution):
        raise ValueError(
            f"kind must be one of {', '.join(get_args(Distribution))}; got {kind!r} "
            "(MeZO's sequential noise, 'torch', is drawn by zo2rt.noise.mezo)"
        )
