"""How fast the noise is: seconds per element of every pass, on buffers of a block's size."""

from collections.abc import Callable
from functools import partial

import torch

from zo2rt.backends import Backend
from zo2rt.measure.timing import Measure, timed_s
from zo2rt.noise import Distribution, Draw, Extent, Update, perturb, perturb_pair, update

_PLACE, _KEY, _EPS = Extent(p=3), 5, 1e-3


class NoiseSpeed:
    """Perturbation out of place and the update of one record, in fp32, on the calling thread."""

    def __init__(self, backend: Backend, elements: int) -> None:
        self._theta, self._plus, self._minus = (
            backend.device_buffer(4 * elements).view(torch.float32) for _ in range(3)
        )
        self._theta.normal_()
        for measure in self.measures.values():
            measure()  # compiles, and touches every page

    @property
    def measures(self) -> dict[str, Measure]:
        """Seconds per element: W+ of either kind; gaussian W+ and W- at once, and the update."""
        return {
            "gaussian": self._perturb_s("gaussian"),
            "rademacher": self._perturb_s("rademacher"),
            "pair": self._pair_s(),
            "update": self._update_s(),
        }

    def _perturb_s(self, kind: Distribution) -> Measure:
        work = partial(perturb, self._plus, self._theta, _PLACE, kind=kind)
        return self._per_element(partial(work, key=_KEY, coefficient=_EPS))

    def _pair_s(self) -> Measure:
        work = partial(perturb_pair, self._plus, self._minus, self._theta, _PLACE, kind="gaussian")
        return self._per_element(partial(work, key=_KEY, coefficient=_EPS))

    def _update_s(self) -> Measure:
        one = Update(draws=(Draw(key=_KEY, g=1.0),), lr=1e-6, weight_decay=0.0)
        work = partial(update, self._theta, _PLACE, kind="gaussian")
        return self._per_element(partial(work, updates=[one]))

    def _per_element(self, work: Callable[[], object]) -> Measure:
        return lambda: timed_s(work, times=3) / self._theta.numel()
