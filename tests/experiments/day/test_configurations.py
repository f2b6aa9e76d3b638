"""The eight configurations by machine; the notebook keeps what a machine cannot have."""

from pathlib import Path

import pytest

from experiments.campaign.recorded_run import case_of
from experiments.day.configurations import LARGE, balanced_tokens, designs, large_bytes
from experiments.day.day import CONFIGURATIONS
from experiments.day.notebook import Notebook
from experiments.day.parts import Deadline
from experiments.day.sizes import CARD
from zo2sim.cost.measured import Measured
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named, resolve
from zo2sim.predict.predict import predict

MACHINES = ("rtx-4090-24gb", "t4-16gb", "h200-sxm-141gb")


@pytest.mark.parametrize("name", MACHINES)
def test_what_their_names_say_binds(name: str):
    machine = named(name)
    made = {n: design() for n, design in designs(machine, CARD, 20e9).items()}
    assert tuple(made) == CONFIGURATIONS
    assert [spec.name for spec in made.values()] == [*CONFIGURATIONS]
    binds = {n: predict(case_of(made[n], machine)).bound.binding for n in CONFIGURATIONS}
    assert binds["zo2, compute-bound"] == "compute"
    assert binds["zo2, link-bound"] == binds[LARGE] == "link_both_ways"
    assert all(predict(case_of(spec, machine)).fit for n, spec in made.items() if n != LARGE)
    half = Dtype.FP16 if name == "t4-16gb" else Dtype.BF16
    assert made["resident"].recipe.storage_dtype is half
    assert made["zo2, fp32"].recipe.storage_dtype is Dtype.FP32


def test_the_large_model_has_the_room_that_memory_and_time_leave():
    machine = named("h200-sxm-141gb")
    spec = designs(machine, CARD, 30e9)[LARGE]()
    assert spec.model.elements * 2 == pytest.approx(30e9, rel=0.05)
    assert large_bytes(100e9, 60.0, CARD) == 30e9
    assert large_bytes(20e9, 60.0, CARD) == 12e9


def test_at_balance_a_block_computes_as_long_as_it_travels():
    machine = named("h200-sxm-141gb")
    rate = machine.quantity("device.gemm_flops_per_s").value
    rate *= machine.quantity("device.sustained_ratio").value
    tokens = balanced_tokens(machine, Dtype.BF16)
    computing_s = 2 * 2.0 * tokens / rate
    travelling_s = 2 / machine.link.both_h2d_bytes_per_s.value
    assert computing_s == pytest.approx(travelling_s)


def test_a_constant_that_no_machine_has_is_refused_alone(tmp_path: Path):
    book = Notebook(tmp_path, named("h100-sxm-80gb"), "a test")
    rows = [
        Measured(group=key, name=key, amounts={key: amount}, seconds=1.0)
        for key, amount in (("link.h2d_bytes_per_s", 30e9), ("device.bf16_flops_per_s", 1.0))
        for _ in range(3)
    ]
    book.take(rows, Deadline(float("inf")))
    book.put("device.sustained_ratio", 0.9, 0.8, 1.0)
    book.save()
    machine = resolve(tmp_path / "machine.toml")
    assert machine == book.machine
    assert machine.link.h2d_bytes_per_s.value == pytest.approx(30e9, rel=0.01)
    assert machine.quantity("device.sustained_ratio").interval == (0.8, 1.0)
    assert [*book.refused] == ["device.bf16_flops_per_s"]
    assert machine.device.bf16_flops_per_s == named("h100-sxm-80gb").device.bf16_flops_per_s
