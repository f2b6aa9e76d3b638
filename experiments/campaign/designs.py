"""Real configurations: those that calibrate, that validate, and whose memory is measured.

The first two share no model shape. Models have random weights; sizes make steps of 20 to 800 ms
on the `host` backend. `device_runs` are short runs on a card, `memory_runs` processes of 0.3 to
0.7 GB each.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from zo2rt.measure.runs import RunSpec
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Noise, Plan, Policy, Recipe

_POSITIONS = 512


def calibration_runs(count: int, *, seed: int) -> Iterator[RunSpec]:
    """Random small configurations, from which the constants of a run are fitted.

    `len(KINDS)` in a row have every kind, four times as many every kind with both families, both
    noises, small and large models, and every speed of the link; sizes are drawn.
    """
    draw = random.Random(seed)
    for number in range(count):
        kind, again = number % len(KINDS), number // len(KINDS)
        plan, storage, trainable = KINDS[kind]
        wide = (kind // 3 + again + again // 2) % 2 == 1
        config = _drawn_config(draw, llamas=(kind + again) % 2 == 1, wide=wide)
        microbatches = draw.choice((1, 1, 2, 4))
        rates = _FAST if wide else _RATES
        how = recipe(
            batch=draw.choice((1, 1, 2, 3)),
            sequence=draw.choice(_SHORT if microbatches > 2 else (*_SHORT, 100, 128, 180)),
            microbatches=microbatches,
            samples=draw.choice((1, 1, 1, 2)),
            noise=("gaussian", "rademacher")[(kind // 2 + again // 2) % 2],
            storage=storage,
        )
        yield RunSpec(
            name=f"calibration {number}",
            config=config,
            plan=plan,
            recipe=replace(how, trainable=trainable),
            link_bytes_per_s=rates[(kind // 2 + again) % len(rates)],
        )


_SHORT = (32, 44, 64)
_RATES = (0.5e9, 1e9, 2e9, None)
_FAST = (1.5e9, 2e9, 3e9, None)  # so that no step of a large model waits for its link alone
KINDS = (
    (Plan(), Dtype.FP32, "all"),
    (Plan(policy=Policy.RESIDENT), Dtype.FP32, "all"),
    (Plan(policy=Policy.DUAL), Dtype.FP32, "all"),
    (Plan(num_slots=3), Dtype.FP32, "all"),
    (Plan(policy=Policy.NAIVE), Dtype.FP32, "all"),
    (Plan(write_back_every=2), Dtype.FP32, "all"),
    (Plan(num_slots=1), Dtype.FP32, "all"),
    (Plan(resident_blocks=1), Dtype.FP32, "all"),
    (Plan(num_slots=3, scratch_copies=2), Dtype.FP32, "all"),
    (Plan(scratch_copies=2), Dtype.FP32, "all"),
    (Plan(), Dtype.BF16, "all"),
    (Plan(write_back_every=3), Dtype.BF16, "all"),
    (Plan(), Dtype.INT8, "lora:4"),
    (Plan(num_slots=3), Dtype.INT4, "scales"),
    (Plan(resident_blocks=1), Dtype.INT4_ASYM, "lora:8"),
)
"""Plan, stored format, what is trained.

What stands beside an operation changes what it takes, so every kind of trip is measured. Frozen
blocks tell what adapters take, and what leaving an integer format takes between lanes.
"""


def reference_runs() -> tuple[RunSpec, RunSpec]:
    """What all others are paired with: a large run that computes, a small one that starts things.

    Things are operations, lanes and copies; the large one comes first.
    """
    large = RunSpec(
        name="large reference",
        config=opt(384, 2, vocab=1024),
        plan=Plan(policy=Policy.RESIDENT),
        recipe=recipe(batch=1, sequence=96),
    )
    small = RunSpec(
        name="small reference",
        config=opt(64, 6, vocab=512),
        plan=Plan(),
        recipe=recipe(batch=1, sequence=16),
    )
    return large, small


def recipe(
    *,
    batch: int,
    sequence: int,
    microbatches: int = 1,
    samples: int = 1,
    noise: Noise = "gaussian",
    storage: Dtype = Dtype.FP32,
) -> Recipe:
    """Computes in fp32, as the runtime does on a CPU; weights travel as they are stored."""
    return Recipe(
        batch=batch,
        sequence=sequence,
        microbatches=microbatches,
        samples=samples,
        storage_dtype=storage,
        wire_dtype=storage,
        compute_dtype=Dtype.FP32,
        noise=noise,
    )


def opt(hidden: int, layers: int, *, vocab: int, ffn: int | None = None) -> Mapping[str, Any]:
    """An OPT of any size, with heads of 64 or smaller."""
    return {
        "model_type": "opt",
        "hidden_size": hidden,
        "ffn_dim": 4 * hidden if ffn is None else ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": _heads(hidden),
        "vocab_size": vocab,
        "max_position_embeddings": _POSITIONS,
        "word_embed_proj_dim": hidden,
    }


def llama(
    hidden: int, layers: int, *, vocab: int, ffn: int | None = None, tied: bool = False
) -> Mapping[str, Any]:
    """A LLaMA of any size."""
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": hidden * 8 // 3 // 32 * 32 if ffn is None else ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": _heads(hidden),
        "vocab_size": vocab,
        "max_position_embeddings": _POSITIONS,
        "tie_word_embeddings": tied,
    }


def _speed(rate: float | None) -> str:
    return "memory's speed" if rate is None else f"{rate / 1e9:g} GB/s"


def _heads(hidden: int) -> int:
    return hidden // 64 if hidden % 64 == 0 else hidden // 32


def _drawn_config(draw: random.Random, *, llamas: bool, wide: bool) -> Mapping[str, Any]:
    hidden = draw.choice((288, 352, 512, 608) if wide else (96, 128, 192, 256))
    layers = draw.choice((2, 3, 4) if wide else (6, 8, 10))
    vocab = draw.choice((512, 1024, 3000))
    if llamas:
        return llama(hidden, layers, vocab=vocab, tied=draw.random() < 0.5)
    return opt(hidden, layers, vocab=vocab)


def held_out_runs() -> Iterator[RunSpec]:
    """Configurations of which calibration saw no model shape; every field of a plan varies."""
    models = {
        "opt 224": opt(224, 6, vocab=800),
        "opt 448": opt(448, 4, vocab=1600),
        "llama 320": llama(320, 5, vocab=1200),
        "llama 160 tied": llama(160, 9, vocab=700, tied=True),
    }
    recipes = {
        "1x80": recipe(batch=1, sequence=80),
        "1x160": recipe(batch=1, sequence=160),
        "2x56 rademacher": recipe(batch=2, sequence=56, noise="rademacher"),
        "4 x 1x40": recipe(batch=1, sequence=40, microbatches=4),
    }
    rates = (1.5e9, 0.6e9, 0.25e9, None, 3e9)
    combined = [(m, r) for r in recipes for m in models]
    for number in range(24):
        model, how = combined[(5 * number + number // len(_HELD_OUT_PLANS)) % len(combined)]
        plan = [*_HELD_OUT_PLANS][number % len(_HELD_OUT_PLANS)]
        storage = Dtype.BF16 if plan.endswith("bf16") else Dtype.FP32
        rate = rates[number % len(rates)]
        yield RunSpec(
            name=f"{model}, {how}, {plan}, {_speed(rate)}",
            config=models[model],
            plan=_HELD_OUT_PLANS[plan],
            recipe=replace(recipes[how], storage_dtype=storage, wire_dtype=storage),
            link_bytes_per_s=rate,
        )


_HELD_OUT_PLANS = {
    "zo2": Plan(),
    "1 slot": Plan(num_slots=1),
    "4 slots": Plan(num_slots=4),
    "every 3": Plan(write_back_every=3),
    "1 resident": Plan(resident_blocks=1),
    "dual": Plan(policy=Policy.DUAL),
    "naive": Plan(policy=Policy.NAIVE),
    "resident": Plan(policy=Policy.RESIDENT),
    "3 slots, 2 resident": Plan(num_slots=3, resident_blocks=2),
    "W+ and W-": Plan(scratch_copies=2),
    "bf16": Plan(),
    "every 4, bf16": Plan(write_back_every=4),
}


def integer_runs() -> Iterator[RunSpec]:
    """Frozen blocks in integer formats behind limited links, beside adapters or with their scales.

    Held out as those of `held_out_runs` are, whose models they have. At the slowest rate the link
    binds, though it carries four bits.
    """
    models = {
        "opt 448": opt(448, 4, vocab=1600),
        "llama 320": llama(320, 5, vocab=1200),
        "opt 224": opt(224, 6, vocab=800),
    }
    plans = {
        "zo2": Plan(),
        "1 slot": Plan(num_slots=1),
        "1 resident": Plan(resident_blocks=1),
        "W+ and W-": Plan(scratch_copies=2),
    }
    ways = ("lora:4", "scales")
    formats = (Dtype.INT4, Dtype.INT4_ASYM, Dtype.INT8)
    rates = (0.02e9, 0.1e9, 0.5e9)
    sizes = ((1, 80), (2, 56), (1, 160))
    for number in range(12):
        model, plan = [*models][number % 3], [*plans][(number + number // 4) % 4]
        way, form = ways[(number + number // 3) % 2], formats[(number + number // 3) % 3]
        rate, (batch, sequence) = rates[(number // 2) % 3], sizes[(number + number // 6) % 3]
        how = recipe(batch=batch, sequence=sequence, storage=form)
        yield RunSpec(
            name=f"{model}, {form}, {way}, {batch}x{sequence}, {plan}, {_speed(rate)}",
            config=models[model],
            plan=plans[plan],
            recipe=replace(how, trainable=way),
            link_bytes_per_s=rate,
        )


def several_runs() -> Iterator[RunSpec]:
    """Two devices with a limited link each: rings, and lanes that are dealt.

    Held out as those of `held_out_runs` are, whose models they have. Links bind at the slower
    rates, and lanes that wait for each other at the faster.
    """
    models = {
        "opt 448": opt(448, 4, vocab=1600),
        "llama 320": llama(320, 6, vocab=1200),
        "opt 224": opt(224, 6, vocab=800),
        "llama 160 tied": llama(160, 9, vocab=700, tied=True),
    }
    rates, sizes = (0.25e9, 0.1e9, 0.25e9, 0.5e9), ((1, 80), (1, 160), (2, 56))
    for number, (name, (plan, microbatches)) in enumerate(_SEVERAL_PLANS.items()):
        model, rate = [*models][(number + number // 4) % 4], rates[number % 4]
        batch, sequence = sizes[number % 3]
        how = recipe(
            batch=batch,
            sequence=sequence // microbatches,
            microbatches=microbatches,
            noise=("gaussian", "rademacher")[number // 2 % 2],
        )
        yield RunSpec(
            name=f"{model}, {microbatches} x {batch}x{how.sequence}, {name}, {_speed(rate)}",
            config=models[model],
            plan=replace(plan, devices=2),
            recipe=how,
            link_bytes_per_s=rate,
        )


_SEVERAL_PLANS = {
    "ring": (Plan(), 1),
    "ring of 2 groups": (Plan(lane_groups=2), 2),
    "ring, 3 slots": (Plan(num_slots=3), 1),
    "ring, every 2": (Plan(write_back_every=2), 1),
    "ring, W+ and W-": (Plan(scratch_copies=2), 1),
    "ring, 1 slot": (Plan(num_slots=1), 1),
    "ring, 2 resident": (Plan(resident_blocks=2), 1),
    "ring of 2 groups, W+ and W-": (Plan(lane_groups=2, scratch_copies=2), 4),
    "ring, dual": (Plan(policy=Policy.DUAL), 1),
    "ring of 4 groups": (Plan(lane_groups=4, num_slots=3), 4),
    "whole": (Plan(placement="whole"), 1),
    "whole, every 3": (Plan(placement="whole", write_back_every=3), 2),
    "whole, 3 slots": (Plan(placement="whole", num_slots=3), 1),
    "sliced": (Plan(placement="sliced"), 1),
    "sliced, every 2": (Plan(placement="sliced", write_back_every=2), 1),
    "sliced, 3 slots": (Plan(placement="sliced", num_slots=3), 2),
}
"""With the microbatches of each."""


def crowded_runs() -> Iterator[RunSpec]:
    """Two devices that compute at once, whose links let them: how they slow each other.

    Small models, whose launches take most, in turn with larger ones; every placement.
    """
    designs = (
        (opt(352, 4, vocab=1024), Plan(lane_groups=2), 2, 64, 2e9),
        (llama(128, 8, vocab=512), Plan(placement="whole"), 1, 64, 1e9),
        (opt(192, 8, vocab=512), Plan(lane_groups=4, num_slots=3), 4, 32, 1e9),
        (llama(288, 4, vocab=1024), Plan(placement="whole", write_back_every=2), 2, 80, 2e9),
        (opt(512, 3, vocab=1024), Plan(placement="sliced"), 1, 100, 2e9),
        (llama(192, 6, vocab=512, tied=True), Plan(placement="sliced"), 2, 44, 1e9),
    )
    for number, (config, plan, microbatches, sequence, rate) in enumerate(designs):
        yield RunSpec(
            name=f"crowded {number}",
            config=config,
            plan=replace(plan, devices=2),
            recipe=recipe(
                batch=1,
                sequence=sequence,
                microbatches=microbatches,
                noise=("gaussian", "rademacher")[number // 2 % 2],
            ),
            link_bytes_per_s=rate,
        )


def device_runs() -> Iterator[RunSpec]:
    """Models of some hundred million weights: streamed, rarely written back, and resident."""
    wide, gated = opt(2048, 6, vocab=8192), llama(2048, 6, vocab=8192)
    bf16, fp32 = Dtype.BF16, Dtype.FP32
    designs = (
        ("opt, streamed", wide, Plan(), _recipe(bf16, 4, "gaussian")),
        (
            "llama, streamed, every 3",
            gated,
            Plan(write_back_every=3),
            _recipe(bf16, 2, "rademacher"),
        ),
        ("opt, resident", wide, Plan(policy=Policy.RESIDENT), _recipe(bf16, 8, "gaussian")),
        ("llama, fp32, 4 slots", gated, Plan(num_slots=4), _recipe(fp32, 1, "rademacher")),
    )
    for name, config, plan, how in designs:
        yield RunSpec(name=name, config=config, plan=plan, recipe=how)


def _recipe(dtype: Dtype, batch: int, noise: Noise) -> Recipe:
    how = recipe(batch=batch, sequence=512, noise=noise)
    return replace(how, storage_dtype=dtype, wire_dtype=dtype, compute_dtype=dtype)


def memory_runs() -> tuple[RunSpec, ...]:
    """Models of random weights, for two or three steps each, quick ones first."""
    wide, gated = opt(1024, 5, vocab=2048), llama(1024, 5, vocab=2048)
    tied = llama(512, 12, vocab=16_000, tied=True)
    brief = recipe(batch=1, sequence=64, noise="rademacher")
    long = recipe(batch=2, sequence=256, microbatches=2, noise="rademacher")
    return (
        RunSpec(
            name="opt, gaussian", config=wide, plan=Plan(), recipe=recipe(batch=1, sequence=64)
        ),
        RunSpec(
            name="llama, 4 slots, W+ and W-",
            config=gated,
            plan=Plan(num_slots=4, scratch_copies=2),
            recipe=brief,
        ),
        RunSpec(name="opt, resident", config=wide, plan=Plan(policy=Policy.RESIDENT), recipe=brief),
        RunSpec(
            name="llama, host_update",
            config=gated,
            plan=Plan(policy=Policy.HOST_UPDATE, num_slots=1),
            recipe=brief,
        ),
        RunSpec(
            name="opt, every 3, 2 resident",
            config=wide,
            plan=Plan(write_back_every=3, resident_blocks=2, pinning="pageable"),
            recipe=brief,
        ),
        RunSpec(name="tied llama, 4 x 2x256", config=tied, plan=Plan(), recipe=long),
    )
