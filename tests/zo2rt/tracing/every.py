"""Every class that transformers has for these tasks, from the config that its kind has by default.

    python -m tests.zo2rt.tracing.every [TASK...] [--only MODEL_TYPE...]

Each is planned for at the size of its default, and shrunk, traced and run beside what was traced
(`tests.zo2rt.tracing.given`), in a process of its own with a minute of processor time. Prints a row
of each, and ends with 1 where one that is not refused does not agree.
"""

import contextlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from experiments.case.model import model_of
from experiments.case.spec import Spec
from tests.zo2rt.tracing.configs import Config
from tests.zo2rt.tracing.given import told
from tests.zo2rt.tracing.shrunk import shrunk
from zo2rt.tracing.building import meta_model
from zo2sim.models.file import dump, parse
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.predict import predict

TASKS = {
    "causal": "CAUSAL_LM",
    "seq2seq": "SEQ_TO_SEQ_CAUSAL_LM",
    "masked": "MASKED_LM",
    "speech": "SPEECH_SEQ_2_SEQ",
    "image": "IMAGE_CLASSIFICATION",
    "vision-language": "IMAGE_TEXT_TO_TEXT",
    "sequence": "SEQUENCE_CLASSIFICATION",
}
CPU_S = 60
MOST_ELEMENTS = 100_000_000
"""A small copy that is larger is not run: it is not shrunk enough."""


_SECTIONS: Config = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_PUBLISHED: dict[str, Config] = {
    "bamba": {"attn_layer_indices": [9, 18, 27]},
    "dbrx": {"attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "rope_theta": 500000.0}},
    "deepseek_v2": {"n_group": 8, "topk_group": 3, "topk_method": "group_limited_greedy"}
    | {"n_routed_experts": 160, "num_experts_per_tok": 6, "first_k_dense_replace": 1},
    "qwen2_vl": {"text_config": {"rope_parameters": _SECTIONS}},
    "qwen2_5_vl": {"text_config": {"rope_parameters": _SECTIONS}},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "efficientnet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
    | {"image_size": 224},
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6}
    | {"first_k_dense_replace": 1},
}
"""Values of published models where transformers cannot run what its defaults say: Bamba-9B,
DBRX, DeepSeek-V2, dots.llm1, Qwen2-VL-7B, Qwen2.5-VL-7B, ESM-2, EfficientNet-B0."""


@dataclass(frozen=True, slots=True)
class Case:
    """A class of transformers, and the kind of config that it is made from."""

    task: str
    model_type: str
    architecture: str

    def config(self) -> Config:
        """The fields of a config.json with nothing but defaults, but for `_PUBLISHED`."""
        made = CONFIG_MAPPING[self.model_type](**_PUBLISHED.get(self.model_type, {}))
        fields = json.loads(made.to_json_string(use_diff=False))
        return fields | {"architectures": [self.architecture], "model_type": self.model_type}


def cases(tasks: list[str]) -> Iterator[Case]:
    """Each kind and class once, in the order of the tasks."""
    seen = set[tuple[str, str]]()
    for task in tasks or TASKS:
        names = getattr(modeling_auto, f"MODEL_FOR_{TASKS[task]}_MAPPING_NAMES")
        for model_type, found in names.items():
            architecture = found if isinstance(found, str) else found[0]
            if (model_type, architecture) not in seen and model_type in CONFIG_MAPPING:
                seen.add((model_type, architecture))
                yield Case(task, model_type, architecture)


def planned(case: Case) -> str:
    """How long a plan for the default took, or why there is none. Raises what is no refusal."""
    config = case.config()
    with TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        start = time.process_time()
        model = model_of(str(path))
        took_s = time.process_time() - start
        sequence = min(128, model.max_positions or 128)
        how = Recipe(sequence=sequence)
        spec = Spec(model=str(path), machine="a100-sxm-80gb", plan=Plan(), recipe=how)
        predict(spec.case())
    wanted = sum(p.numel() for p in meta_model(config, name="it").parameters())
    assert parse(json.loads(dump(model)), where="it") == model, "it is not read as it is written"
    assert model.elements == wanted, f"{model.elements} parameters, and the class has {wanted}"
    return f"{model.elements:,} in {took_s:.1f} s"


def ran(case: Case) -> str:
    """What a small copy shows."""
    config = shrunk(case.config())
    elements = sum(p.numel() for p in meta_model(config, name="it").parameters())
    assert elements <= MOST_ELEMENTS, f"the small copy has {elements:,} parameters"
    fine, row = told(config)
    assert fine, row
    return row


def row(case: Case) -> tuple[str, str]:
    """What a person reads of one, and whether it is as it should be."""
    words = [f"{case.task} {case.model_type} {case.architecture}"]
    state = "ok"
    for step in (planned, ran):
        try:
            words.append(step(case))
        except Exception as error:  # a table is wanted, whatever one of them does
            refused = isinstance(error, ValueError) and len(str(error).splitlines()) == 1
            state = "refused" if refused and step is planned else "NO"
            words.append(f"{step.__name__}: {type(error).__name__}: {error}"[:400])
            if os.environ.get("ZO2_TRACEBACKS"):
                traceback.print_exc()
            if step is planned:
                break
    return state, " | ".join(" ".join(one.split()) for one in words)


def alone(case: Case) -> tuple[str, str]:
    """`row` in a process of its own; one that runs too long or dies is no good."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
        with contextlib.suppress(BaseException), os.fdopen(writing, "w") as out:
            json.dump(row(case), out)
            out.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as read:
        text = read.read()
    _, status = os.waitpid(child, 0)
    if text:
        state, told_of_it = json.loads(text)
        return state, told_of_it
    why = f"{CPU_S} s of processor time were too few" if os.WTERMSIG(status) == 24 else str(status)
    return "NO", f"{case.task} {case.model_type} {case.architecture} | {why}"


def main(words: list[str]) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    at = words.index("--only") if "--only" in words else len(words)
    tasks, only = words[:at], words[at + 1 :]
    counts: dict[str, int] = {}
    found = [case for case in cases(tasks) if not only or case.model_type in only]
    for case in sorted(found, key=lambda case: only.index(case.model_type) if only else 0):
        state, text = alone(case)
        counts[state] = counts.get(state, 0) + 1
        sys.stdout.write(f"{state:7} {text}\n")
        sys.stdout.flush()
    sys.stdout.write(", ".join(f"{count} {state}" for state, count in counts.items()) + "\n")
    return 1 if "NO" in counts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
