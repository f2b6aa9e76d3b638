"""One row of a sweep: a question that it belongs to, the name of its series, and a case."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from experiments.answer.metrics import metrics
from experiments.answer.trust import Trust, standing
from experiments.case.spec import Spec
from zo2sim.memory.published.accounts import adamw_account
from zo2sim.predict.predict import predict

Account = Literal["predict", "adamw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """``account`` ``adamw`` is a memory account only; the schedule of AdamW is not predicted.

    ``bands`` asks for the 90 % bands, too.
    """

    question: str
    label: str
    spec: Spec
    account: Account = "predict"
    bands: bool = True

    @property
    def key(self) -> str:
        """Jobs of equal key ask for the same numbers, whatever they are wanted for."""
        bare = "" if self.bands else "-bare"
        return f"{self.account}{bare}-{self.spec.config_hash}"


def answer(job: Job) -> dict[str, Any]:
    """The numbers of one job: the metrics of `experiments.answer.metrics`, and what binds."""
    size = {"model_elements": float(job.spec.model_elements)}
    return {**size, **(_adamw(job) if job.account == "adamw" else _predicted(job))}


def _predicted(job: Job) -> dict[str, Any]:
    prediction = predict(job.spec.case())
    numbers = {k: v for k, v in metrics(prediction).items() if math.isfinite(v)}
    found = {**numbers, "binding_resource": prediction.bound.binds[0]}
    if not job.bands:
        return {**found, **standing(prediction.case)}
    trust = Trust.of(prediction)
    return {**found, **trust.metrics, **trust.words}


def _adamw(job: Job) -> dict[str, Any]:
    case = job.spec.case()
    memory = adamw_account(case.model, case.recipe)
    room = case.machine.device.memory_bytes.value
    return {
        "device_bytes": float(memory.device_bytes),
        "host_bytes": float(memory.host_bytes),
        "fits_device": float(memory.device_bytes <= room),
        "binding_resource": "",
    }
