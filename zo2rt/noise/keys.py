"""Philox keys: 64 bits per (run seed, step, sample)."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def sample_key(run_seed: int, step: int, sample: int) -> int:
    """The key of one noise direction, in 0 .. 2^64 - 1; 0 is a seed like any other."""
    key = 0
    for name, value in (("run_seed", run_seed), ("step", step), ("sample", sample)):
        if not 0 <= value <= _MASK:
            raise ValueError(f"{name} must be in 0 .. 2^64 - 1; got {value!r}")
        key = _mix((key + _GOLDEN + value) & _MASK)
    return key


def _mix(x: int) -> int:
    """The finaliser of splitmix64."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
