"""Every command by what somebody wants to do, with one line of what it answers."""

from collections.abc import Mapping

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Plan a fine-tuning run (seconds, no GPU needed)": {
        "plan": "will it fit, how fast, what limits it, what to change first",
        "tune": "the best plan for a machine, and how good it can get at all",
        "models": "the models that are known by name",
        "machines": "the machines that are known by name; --here describes this one",
        "page": "a page with sliders, in one file that works offline",
        "serve": "the same page with exact answers, on this computer alone",
        "sensitivity": "what the step time depends on, and where what binds changes",
        "scale": "what many workers make of a step, over a LAN or the internet",
        "baseline": "first-order training (AdamW, ZeRO-Offload, ...) in the same terms",
    },
    "Train (needs zo2sim[rt])": {
        "run": "fine-tune a model; stopped or killed, it resumes to the same bits",
        "replay": "the weights of any step of a run, from its journal",
    },
    "Measure (needs zo2sim[rt])": {
        "calibrate": "measure this machine, or its card, and write its machine file",
        "card": "a CUDA card's day: all that is to be measured there, in 8 minutes",
        "validate": "predict real runs, measure them, say the errors",
    },
    "Study": {
        "sweep": "predict grids of cases: records, figures, a report",
        "report": "runs' folders as one paper (needs zo2sim[report])",
        "reproduce": "every published claim beside its prediction",
        "verify": "print a schedule, or prove that it has no race",
        "bench": "how fast the simulator and the runtime are",
        "fit_kernels": "refit the kernel tables, with hold-out errors",
        "fit_memory": "refit the constants of memory, with hold-out errors",
    },
}

VERBS: Mapping[str, str] = {
    verb: words for group in GROUPS.values() for verb, words in group.items()
}
"""One line for every command."""
