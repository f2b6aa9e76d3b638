"""What a forward pass runs, operator by operator: products, launches and bytes, unit by unit.

The rule by which they are counted is stated in `zo2sim.models.config.parts` [Note: counting rule].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple, Self

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from zo2rt.tracing.attention import Call
from zo2rt.tracing.shadow import tensors_of
from zo2sim.schedule.ops import HEAD

_NO_LAUNCH = ("_unsafe_view", "empty", "detach", "alias", "lift_fresh", "is_same")
_LOOK_UP = ("embedding", "index.Tensor", "index_select", "gather")


class Product(NamedTuple):
    """``rows`` times (k, n), in all of its ``groups``; with ``weights``, or of two activations."""

    rows: int
    n: int
    k: int
    groups: int
    bias: bool
    weights: bool


class LookUp(NamedTuple):
    """Rows of a parameter that were read by number, up to the ``last`` of them."""

    rows: int
    last: int


@dataclass(slots=True)
class Work:
    """What ran: in order, and summed up."""

    products: list[Product] = field(default_factory=list)
    attentions: list[Call] = field(default_factory=list)
    look_ups: list[LookUp] = field(default_factory=list)
    moved_bytes: int = 0
    kernels: int = 0

    def since(self, before: "Work") -> "Work":
        """What ran after ``before``, which was a copy of this."""
        return Work(
            products=self.products[len(before.products) :],
            attentions=self.attentions[len(before.attentions) :],
            look_ups=self.look_ups[len(before.look_ups) :],
            moved_bytes=self.moved_bytes - before.moved_bytes,
            kernels=self.kernels - before.kernels,
        )

    def add(self, other: "Work") -> None:
        self.products += other.products
        self.attentions += other.attentions
        self.look_ups += other.look_ups
        self.moved_bytes += other.moved_bytes
        self.kernels += other.kernels

    def copy(self) -> "Work":
        return Work([*self.products], [*self.attentions], [*self.look_ups], *self.sums)

    @property
    def sums(self) -> tuple[int, int]:
        return self.moved_bytes, self.kernels


class Counter(TorchDispatchMode):
    """Counts what runs while it is on, for the unit that ``unit`` names at the time.

    Activations are ``length`` long, or have more elements than ``small``: than what is there once.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, length: int, small: int) -> None:
        super().__init__()
        self.unit = HEAD
        self.by_unit: dict[int, Work] = {}
        self._length, self._small = length, small
        self._weights = {_storage(p): p.detach() for p in parameters}

    @property
    def work(self) -> Work:
        """Of the unit that runs now."""
        return self.by_unit.setdefault(self.unit, Work())

    def attended(self, call: Call) -> None:
        """A fused attention, which is one launch."""
        self.work.attentions.append(call)
        self.work.kernels += 1

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::")
        if (
            not func.is_view
            and not name.startswith(_NO_LAUNCH)
            and not _moves_only(name, args, out)
        ):
            self._launched(name, args, out)
        elif name.startswith("slice"):
            self._sliced(args, out)
        return out

    def _launched(self, name: str, args: tuple[Any, ...], out: Any) -> None:
        work = self.work
        work.kernels += 1
        product = self._product(name.partition(".")[0], args, out)
        if product is not None:
            if product.k > 1:  # an outer product is no arithmetic to speak of
                work.products.append(product)
            if not product.weights:
                work.moved_bytes += _bytes(args[-1]) if isinstance(args[-1], Tensor) else 0
        elif self._of_weights(args):
            self._weights |= {_storage(t): t for t in tensors_of(out)}
        elif name.startswith(_LOOK_UP):
            work.moved_bytes += 2 * self._activations(out)
            self._looked_up(args)
        else:
            read = args[1:] if name.startswith("copy_") else args
            work.moved_bytes += self._activations(read) + self._activations(out)

    def _product(self, name: str, args: tuple[Any, ...], out: Any) -> Product | None:
        sizes = _SIZES.get(name)
        if sizes is None:
            return None
        a, b = sizes.operands(args)
        product = sizes.of(a, b, out)
        swapped = self._is_weight(a) and not self._is_weight(b)
        if swapped:
            rows, n = product.n * product.groups, product.rows // product.groups
            product = product._replace(rows=rows, n=n)
        bias = any(isinstance(args[i], Tensor) for i in sizes.bias)
        return product._replace(bias=bias, weights=swapped or self._is_weight(b))

    def _is_weight(self, tensor: Tensor) -> bool:
        return _storage(tensor) in self._weights

    def _of_weights(self, args: tuple[Any, ...]) -> bool:
        """Nothing but weights went in: a cast of them, or what is made of them."""
        tensors = [*tensors_of(args)]
        return bool(tensors) and all(map(self._is_weight, tensors))

    def _activations(self, value: Any) -> int:
        """Bytes of activations: no whole numbers, vectors, scalars per token or weights."""
        return sum(
            _bytes(t)
            for t in tensors_of(value)
            if t.is_floating_point()
            and t.dim() > 1
            and t.shape[-1] > 1
            and t.numel() > (self._length if self._length in t.shape else self._small)
            and not self._is_weight(t)
        )

    def _looked_up(self, args: tuple[Any, ...]) -> None:
        tensors = [*tensors_of(args)]
        if len(tensors) == 2 and self._is_weight(tensors[0]) and not tensors[1].is_meta:
            last = int(tensors[1].max()) if tensors[1].numel() else 0
            rows = tensors[0].shape[0]
            if last >= rows:
                raise IndexError(
                    f"a table of {rows} rows must have row {last}, which was asked for"
                )
            self.work.look_ups.append(LookUp(rows, last))

    def _sliced(self, args: tuple[Any, ...], out: Tensor) -> None:
        """Rows of a table taken from a number on are looked up, too."""
        table, dim, start, *_ = (*args, 0, 0, None)
        if dim == 0 and self._is_weight(table) and out.shape[0] < table.shape[0]:
            self.work.look_ups.append(LookUp(table.shape[0], (start or 0) + out.shape[0] - 1))


class _Sizes(NamedTuple):
    """Where an operator has its operands and its bias, and which product it is."""

    first: int
    bias: tuple[int, ...]
    of: Any

    def operands(self, args: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        return args[self.first], args[self.first + 1]

    @classmethod
    def at(cls, first: int, of: Any, *, bias: tuple[int, ...] = ()) -> Self:
        return cls(first, bias, of)


def _matrices(a: Tensor, b: Tensor, out: Tensor) -> Product:
    groups = prod(a.shape[:-2])
    n = b.shape[-1] if b.dim() > 1 else 1
    rows = a.shape[-2] if a.dim() > 1 else 1
    return Product(groups * rows, n, a.shape[-1], groups, bias=False, weights=True)


def _grouped(a: Tensor, b: Tensor, out: Tensor) -> Product:
    """Every row of ``a`` goes to one of the matrices of ``b``."""
    return Product(a.shape[0], b.shape[-1], a.shape[-1], b.shape[0], bias=False, weights=True)


def _convolved(a: Tensor, weight: Tensor, out: Tensor) -> Product:
    positions = out.shape[0] * prod(out.shape[2:])
    return Product(positions, weight.shape[0], prod(weight.shape[1:]), 1, bias=False, weights=True)


_SIZES = {
    "mm": _Sizes.at(0, _matrices),
    "bmm": _Sizes.at(0, _matrices),
    "mv": _Sizes.at(0, _matrices),
    "dot": _Sizes.at(0, _matrices),
    "addmm": _Sizes.at(1, _matrices, bias=(0,)),
    "baddbmm": _Sizes.at(1, _matrices, bias=(0,)),
    "addmv": _Sizes.at(1, _matrices, bias=(0,)),
    "_grouped_mm": _Sizes.at(0, _grouped),
    "transformers::grouped_mm_fallback": _Sizes.at(0, _grouped),
    "convolution": _Sizes.at(0, _convolved, bias=(2,)),
}


def _moves_only(name: str, args: tuple[Any, ...], out: Any) -> bool:
    """To another device, where everything is on one."""
    return name.startswith("_to_copy") and isinstance(out, Tensor) and out.dtype == args[0].dtype


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
