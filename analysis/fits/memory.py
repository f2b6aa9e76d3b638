"""Fit the memory account to published figures, and say how well it predicts a row left out.

One constant is fitted, the CUDA context, shared by every NVML row; the allocated rows have none.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import sqrt
from typing import Any

from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from zo2sim.memory.account import GIB, MemoryAccount
from zo2sim.memory.published.accounts import adamw_account, mezo_account, zo2_reference_account
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Recipe

Figure = Callable[[MemoryAccount], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A published figure beside its prediction.

    ``base_bytes`` is the prediction with a context of 0; ``has_context`` says whether the figure
    counts the context, ``fitted`` whether it helps to fit it.
    """

    claim: str
    model: str
    published: float
    unit_bytes: int
    base_bytes: int
    has_context: bool
    fitted: bool

    @property
    def published_bytes(self) -> float:
        return self.published * self.unit_bytes

    def predicted_bytes(self, context_bytes: float) -> float:
        return self.base_bytes + (context_bytes if self.has_context else 0.0)

    def error(self, context_bytes: float) -> float:
        """Relative error, published figure in the unit that its source states or implies."""
        return self.predicted_bytes(context_bytes) / self.published_bytes - 1

    def error_gib(self, context_bytes: float) -> float:
        """Relative error with the published figure read as GiB instead."""
        return self.predicted_bytes(context_bytes) / (self.published * GIB) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFit:
    """The fitted context with its 95 % interval, and the error of each row when left out."""

    context_bytes: int
    low_bytes: int
    high_bytes: int
    rows: tuple[Row, ...]
    left_out_errors: tuple[float, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        return tuple(row.error(self.context_bytes) for row in self.rows)

    @property
    def errors_gib(self) -> tuple[float, ...]:
        return tuple(row.error_gib(self.context_bytes) for row in self.rows)


def published_claims() -> dict[str, dict[str, Any]]:
    """`zo2sim/data/published.toml` by claim id."""
    text = files("zo2sim").joinpath("data/published.toml").read_text("utf-8")
    return {claim["id"]: claim for claim in tomllib.loads(text)["claim"]}


def published_rows() -> tuple[Row, ...]:
    """Every published memory figure of ZO2, MeZO and AdamW, traced without a context."""
    return (
        *_rows("zo2-allocated-memory-fp16", zo2_reference_account, has_context=False),
        *_rows("zo2-nvml-memory", zo2_reference_account, fitted=True),
        *_rows("mezo-memory-fp16", mezo_account, fitted=True),
        *_rows("adamw-memory", adamw_account),
    )


def fit_context(rows: Sequence[Row]) -> ContextFit:
    """Least squares of the relative errors; raises ``ValueError`` with fewer than 3 fitted rows."""
    used = [row for row in rows if row.fitted]
    if len(used) < 3:
        raise ValueError(f"a fit with a row left out needs >= 3 fitted rows; got {len(used)}")
    context = _best_context(used)
    half = _half_interval(used, context)
    left_out = (_best_context([r for r in used if r is not row]) for row in rows)
    return ContextFit(
        context_bytes=round(context),
        low_bytes=round(context - half),
        high_bytes=round(context + half),
        rows=tuple(rows),
        left_out_errors=tuple(r.error(c) for r, c in zip(rows, left_out, strict=True)),
    )


def _rows(
    claim_id: str,
    predict: Callable[..., MemoryAccount],
    *,
    has_context: bool = True,
    fitted: bool = False,
) -> list[Row]:
    claim = published_claims()[claim_id]
    accounts = {
        m: predict(preset(m, tied=False), Recipe(), context_bytes=0) for m in claim["values"]
    }
    return [
        Row(
            claim=claim_id,
            model=model,
            published=float(claim["values"][model]),
            unit_bytes=claim["unit_bytes"],
            base_bytes=a.device_nvml_bytes if has_context else a.device_allocated_bytes,
            has_context=has_context,
            fitted=fitted,
        )
        for model, a in accounts.items()
    ]


def _best_context(rows: Sequence[Row]) -> float:
    """argmin over c of the sum of ((base + c) / published - 1)^2."""
    weights = [row.published_bytes**-2 for row in rows]
    residuals = [row.published_bytes - row.base_bytes for row in rows]
    return sum(w * r for w, r in zip(weights, residuals, strict=True)) / sum(weights)


def _half_interval(rows: Sequence[Row], context: float) -> float:
    freedom = len(rows) - 1
    variance = sum(row.error(context) ** 2 for row in rows) / freedom
    precision = sum(row.published_bytes**-2 for row in rows)
    quantile = float(stats.t.ppf(0.975, freedom))  # pyright: ignore[reportUnknownMemberType]
    return quantile * sqrt(variance / precision)
