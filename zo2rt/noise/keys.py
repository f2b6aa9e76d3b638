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


def seed_shifted(run_seed: int, steps: int) -> int:
    """The seed under which step e draws what step e + ``steps`` draws under ``run_seed``.

    ``sample_key(seed_shifted(s, n), e, i) == sample_key(s, e + n, i)`` for every e, i and n.
    """
    if not 0 <= run_seed <= _MASK:
        raise ValueError(f"run_seed must be in 0 .. 2^64 - 1; got {run_seed!r}")
    first = _mix((_GOLDEN + run_seed) & _MASK)
    return (_unmixed((first + steps) & _MASK) - _GOLDEN) & _MASK


def _unmixed(x: int) -> int:
    """The inverse of `_mix`: every one of its operations can be undone modulo 2^64."""
    x ^= (x >> 31) ^ (x >> 62)
    x = (x * pow(0x94D049BB133111EB, -1, 2**64)) & _MASK
    x ^= (x >> 27) ^ (x >> 54)
    x = (x * pow(0xBF58476D1CE4E5B9, -1, 2**64)) & _MASK
    return x ^ (x >> 30) ^ (x >> 60)
