"""From counts at several lengths to shapes: what grows with the sequence, and how.

Everything that a unit runs is counted at three lengths. Rows and launches grow evenly with the
length, elements with its square; what does not grow is there once per sequence.
"""

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from zo2rt.tracing.attention import Call
from zo2rt.tracing.counting import Product, Work
from zo2sim.dtypes import Dtype
from zo2sim.models.shapes import Attention, Gemm, Unit

_UNEVEN = 0.01
"""How much rows may differ from growing evenly: padding to whole chunks."""


def fitted(
    lengths: Sequence[int],
    half: Sequence[Work],
    full: Sequence[Work],
    masked: Sequence[Call],
) -> Unit:
    """The work of a unit from what it ran in half precision, and in fp32, at each length.

    ``masked`` are its attentions where every mask is made. Raises ``ValueError`` where a product
    grows in a way that no `Gemm` or `Attention` says.
    """
    products = [work.products for work in half]
    gemms, scores = _aligned(lengths, products) or (_summed(lengths, products), [])
    calls = zip(*(work.attentions for work in half), strict=True)
    fused = [_attention(lengths, at, known) for at, known in zip(calls, masked, strict=True)]
    per_sequence, elementwise, per_pair = _square(lengths, half, Dtype.BF16)
    _, fp32_elements, _ = _square(lengths, full, Dtype.FP32)
    kernels, per_token = _even(lengths, [work.kernels for work in half])
    fp32_kernels, _ = _even(lengths, [work.kernels for work in full])
    return Unit(
        gemms=tuple(gemms),
        attentions=(*fused, *scores),
        elementwise=elementwise,
        cast_elements=elementwise - fp32_elements,
        kernels=round(kernels),
        cast_kernels=round(kernels - fp32_kernels),
        elementwise_per_sequence=per_sequence,
        elementwise_per_pair=per_pair,
        kernels_per_token=float(per_token),
    )


def _aligned(
    lengths: Sequence[int], products: Sequence[Sequence[Product]]
) -> tuple[list[Gemm], list[Attention]] | None:
    """Product by product, where every length runs the same ones; else None."""
    columns = list(zip(*products, strict=False))
    if any(len(run) != len(columns) for run in products):
        return None
    gemms, attentions, scores = list[Gemm](), list[Attention](), list[Sequence[Product]]()
    routed = defaultdict[Product, list[Sequence[int]]](list)
    for column in columns:
        first = column[0]
        if all((p.n, p.k) == (first.n, first.k) for p in column):
            rows = [p.rows for p in column]
            if first.weights and first.rows < lengths[0] and len({*rows}) > 1:
                routed[first._replace(rows=0)].append(rows)
            else:
                gemms.append(_gemm(lengths, first, rows))
        elif all(p.k == first.k for p in column):
            scores.append(column)
        elif scores:
            attentions.append(_unfused(lengths, scores.pop(), first))
        elif all(p.n == first.n and p.rows * first.k == first.rows * p.k for p in column):
            gemms.append(_between(lengths, column))
        else:
            return None
    gemms += [_shared(lengths, product, each) for product, each in routed.items()]
    return gemms, attentions + [_unfused(lengths, alone, None) for alone in scores]


def _shared(lengths: Sequence[int], product: Product, each: Sequence[Sequence[int]]) -> Gemm:
    """Of experts that are a matrix each, and have a share of the rows: together they are even."""
    together = [sum(rows) for rows in zip(*each, strict=True)]
    return _gemm(lengths, product._replace(groups=product.groups * len(each)), together)


def _unfused(
    lengths: Sequence[int], scores: Sequence[Product], result: Product | None
) -> Attention:
    """Scores of queries and keys, and what they make of the values, if anything.

    An indexer's scores only choose keys (DeepSeek-V3.2).
    """
    first, n = scores[0], 0 if result is None else result.n
    heads = first.rows // lengths[0]
    if any(p.rows != heads * length for p, length in zip(scores, lengths, strict=True)):
        heads = first.groups
    sizes = _sizes(lengths, [(p.rows // heads, p.n) for p in scores])
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=first.k,
        causal=False,
        value_dim=None if n == first.k else n,
        fused=False,
        **sizes,
    )


def _between(lengths: Sequence[int], column: Sequence[Product]) -> Gemm:
    """Of states that pass from every chunk to every later one.

    It grows with the square of how many chunks there are, which are few: as if it grew evenly.
    """
    first, last = column[0], column[-1]
    rows = last.rows * last.k / (first.k * lengths[-1])
    return Gemm(n=first.n, k=first.k, rows_per_token=rows)


def _summed(lengths: Sequence[int], products: Sequence[Sequence[Product]]) -> list[Gemm]:
    """Equal products together, where loops over the sequence run more of them."""
    rows: defaultdict[Product, list[int]] = defaultdict(lambda: [0] * len(lengths))
    for number, run in enumerate(products):
        for product in run:
            groups = product.groups if product.weights else 1
            rows[product._replace(rows=0, groups=groups)][number] += product.rows
    return [_gemm(lengths, product, counts) for product, counts in rows.items()]


def _gemm(lengths: Sequence[int], product: Product, rows: Sequence[int]) -> Gemm:
    """All rows of two activations' product are one; those of weights are told by matrix."""
    count = product.groups if product.weights else 1
    constant, slope = _even(lengths, [Fraction(row, count) for row in rows])
    if not _grow_evenly(lengths, rows):
        raise ValueError(
            f"a product must have rows in proportion to the sequence; one of {product.n} x "
            f"{product.k} has {', '.join(map(str, rows))} at {', '.join(map(str, lengths))}"
        )
    return Gemm(
        n=product.n,
        k=product.k,
        count=count,
        rows_per_token=float(slope),
        bias=product.bias,
        rows_per_sequence=float(constant),
    )


def _grow_evenly(lengths: Sequence[int], rows: Sequence[int]) -> bool:
    constant, slope = _even(lengths, rows)
    return all(
        abs(constant + slope * length - row) <= _UNEVEN * row
        for length, row in zip(lengths, rows, strict=True)
    )


def _attention(lengths: Sequence[int], at: Sequence[Call], masked: Call) -> Attention:
    call, kept = at[0], masked.kept
    return Attention(
        heads=call.heads,
        kv_heads=call.kv_heads,
        head_dim=call.head_dim,
        causal=kept.causal,
        window=kept.window,
        chunk=kept.chunk,
        value_dim=None if call.value_dim == call.head_dim else call.value_dim,
        **_sizes(lengths, [(c.queries, c.keys) for c in at]),
    )


def _sizes(lengths: Sequence[int], pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """How many queries and keys there are, for an `Attention`."""
    found: dict[str, Any] = {}
    for name, sizes in zip(("queries", "keys"), zip(*pairs, strict=True), strict=True):
        found[name], found[f"{name}_per_token"] = _size(lengths, sizes)
    return found


def _size(lengths: Sequence[int], sizes: Sequence[int]) -> tuple[int | None, float]:
    """None where the size is the length; else what it is without the sequence, and per token."""
    if all(abs(n - length) <= _UNEVEN * length for n, length in zip(sizes, lengths, strict=True)):
        return None, 0.0
    if not _grow_evenly(lengths, sizes):
        raise ValueError(
            "attention must have queries and keys in proportion to the sequence, or a fixed number "
            f"of them; got {', '.join(map(str, sizes))} at {', '.join(map(str, lengths))}"
        )
    constant, slope = _even(lengths, sizes)
    return round(constant), float(slope)


def _even(lengths: Sequence[int], values: Sequence[int | Fraction]) -> tuple[Fraction, Fraction]:
    """Constant and slope, through the first and the last."""
    slope = Fraction(values[-1] - values[0]) / (lengths[-1] - lengths[0])
    return values[0] - slope * lengths[0], slope


def _square(lengths: Sequence[int], works: Sequence[Work], dtype: Dtype) -> tuple[int, int, int]:
    """Elements per sequence, per token and per pair, through all three."""
    a, b, c = lengths
    at_a, at_b, at_c = (Fraction(work.moved_bytes, dtype.bytes) for work in works)
    first, second = (at_b - at_a) / (b - a), (at_c - at_b) / (c - b)
    square = (second - first) / (c - a)
    linear = first - square * (a + b)
    return round(at_a - linear * a - square * a * a), round(linear), round(square)
