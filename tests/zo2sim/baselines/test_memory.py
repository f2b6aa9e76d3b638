"""Accounts of first-order training: bytes per parameter, and what moves where."""

import pytest

from zo2sim.baselines import Method, Training, TrainingCase, account
from zo2sim.machines.file import named
from zo2sim.memory.account import MemoryAccount, MemoryPlace
from zo2sim.models.presets import preset
from zo2sim.models.shapes import Model

MODEL = preset("opt-1.3b")


def items(
    place: MemoryPlace, method: Method, model: Model = MODEL, **fields: object
) -> dict[str, int]:
    return memory(method, model, **fields).itemised(place)


def memory(method: Method, model: Model = MODEL, **fields: object) -> MemoryAccount:
    training = Training(method=method, **fields)  # pyright: ignore[reportArgumentType]
    return account(model, training, context_bytes=0)


def test_adamw_keeps_sixteen_bytes_per_parameter_on_the_device():
    found = items(MemoryPlace.DEVICE, Method.ADAMW)
    kept = found["weights"] + found["gradients"] + found["optimizer states"]
    assert kept == 16 * MODEL.elements


def test_zero_offload_keeps_the_weights_and_sends_the_rest_to_the_host():
    device, host = (
        items(place, Method.ZERO_OFFLOAD) for place in (MemoryPlace.DEVICE, MemoryPlace.HOST)
    )
    assert device["weights"] == 2 * MODEL.elements
    assert "optimizer states" not in device
    assert host["optimizer states"] == 12 * MODEL.elements
    assert host["gradients"] == 4 * MODEL.elements


def test_zero_infinity_keeps_everything_on_nvme():
    found = items(MemoryPlace.NVME, Method.ZERO_INFINITY)
    blocks = sum(block.elements for block in MODEL.blocks)
    assert found == {
        "weights": 2 * blocks,
        "optimizer states": 12 * MODEL.elements,
        "gradients": 4 * MODEL.elements,
    }


def test_zero_infinity_needs_room_for_parameters_where_fuyou_needs_it_for_blocks():
    slots = [items(MemoryPlace.DEVICE, m)["slots"] for m in (Method.ZERO_INFINITY, Method.FUYOU)]
    largest = max(p.elements for p in MODEL.blocks[0].parameters)
    assert slots == [2 * 2 * largest, 2 * 2 * MODEL.blocks[0].elements]


def test_there_are_no_more_slots_than_blocks():
    many, enough = (items(MemoryPlace.DEVICE, Method.FUYOU, num_slots=n) for n in (99, 24))
    assert many["slots"] == enough["slots"] == 24 * 2 * MODEL.blocks[0].elements


def test_roundpipe_keeps_a_model_s_state_on_the_host_and_nothing_on_a_drive():
    """2 bytes of weights, 4 of gradients, 12 of master weights and moments, and block inputs."""
    found = items(MemoryPlace.HOST, Method.ROUNDPIPE)
    state = sum(found[name] for name in ("weights", "gradients", "optimizer states"))
    assert state == 18 * MODEL.elements
    assert found["checkpoints"] == 2048 * MODEL.hidden * 2 * MODEL.num_blocks
    assert not items(MemoryPlace.NVME, Method.ROUNDPIPE)
    assert items(MemoryPlace.DEVICE, Method.ROUNDPIPE)["slots"] < 0.2 * 2 * MODEL.elements


def test_the_host_has_the_checkpoints_of_every_device():
    training = Training(method=Method.ZERO_INFINITY, batch=2, sequence=512)
    one, sixteen = (account(MODEL, training, num_devices=n) for n in (1, 16))
    kept = 2 * 512 * MODEL.hidden * 2 * MODEL.num_blocks
    assert sixteen.host_bytes - one.host_bytes == 15 * kept
    assert sixteen.device_bytes == one.device_bytes


def test_checkpointing_trades_activations_for_the_inputs_of_blocks():
    with_it = items(MemoryPlace.DEVICE, Method.ADAMW, checkpointing=True)
    without = items(MemoryPlace.DEVICE, Method.ADAMW, checkpointing=False)
    assert with_it["checkpoints"] == 2048 * MODEL.hidden * 2 * MODEL.num_blocks
    assert without["activations"] > 10 * with_it["checkpoints"]


def test_a_gpt_block_saves_34_bytes_per_token_and_hidden_element():
    """arXiv:2205.05198, equation 1, without its term of scores."""
    model = preset("gpt2-xl")
    saved = items(MemoryPlace.DEVICE, Method.ADAMW, model, checkpointing=False, sequence=1024)
    assert saved["activations"] == 34 * 1024 * model.hidden * model.num_blocks


def test_eager_attention_saves_five_bytes_per_score():
    fused, eager = (
        items(MemoryPlace.DEVICE, Method.ADAMW, checkpointing=False, attention=kind)["activations"]
        for kind in ("fused", "eager")
    )
    assert eager - fused == 5 * 32 * 2048 * 2048 * MODEL.num_blocks


def test_a_case_compares_with_its_machine():
    case = TrainingCase(
        model=preset("opt-13b"), machine=named("a100-pcie-80gb"), training=Training(batch=1)
    )
    places = {fit.place: fit.fits for fit in case.fits}
    assert places == {MemoryPlace.DEVICE: False, MemoryPlace.HOST: True, MemoryPlace.NVME: True}


@pytest.mark.parametrize("method", list(Method))
def test_every_account_has_a_context_and_a_process(method: Method):
    found = account(MODEL, Training(method=method), context_bytes=7)
    assert found.itemised(MemoryPlace.DEVICE)["CUDA context"] == 7
    assert found.itemised(MemoryPlace.HOST)["process"] > 0
