"""Philox4x32-10 and the key derivation in plain Python integers: no numpy, no code of ours."""

_W32 = 2**32


def philox(key: int, counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Four words, as Salmon et al. (SC 2011) define them."""
    x0, x1, x2, x3 = counter
    key_low, key_high = key % _W32, key // _W32
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * x0, _W32)
        high_1, low_1 = divmod(0xCD9E8D57 * x2, _W32)
        x0, x1, x2, x3 = high_1 ^ x1 ^ key_low, low_1, high_0 ^ x3 ^ key_high, low_0
        key_low = (key_low + 0x9E3779B9) % _W32
        key_high = (key_high + 0xBB67AE85) % _W32
    return x0, x1, x2, x3


def half(key: int, element: int, p: int, word3: int) -> int:
    """The 16-bit half that an element takes."""
    j, within = divmod(element, 8)
    word = philox(key, (j % _W32, j // _W32, p, word3))[within // 2]
    return word // 2 ** (16 * (within % 2)) % 2**16


def bit(key: int, element: int, p: int) -> int:
    """The bit that an element takes."""
    j, within = divmod(element, 128)
    word = philox(key, (j % _W32, j // _W32, p, 0))[within // 32]
    return word // 2 ** (within % 32) % 2


def splitmix64(state: int, outputs: int) -> list[int]:
    """The generator whose finaliser derives the keys."""
    result: list[int] = []
    for _ in range(outputs):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        x = (state ^ state // 2**30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x // 2**27) * 0x94D049BB133111EB % 2**64
        result.append(x ^ x // 2**31)
    return result


def key_of(run_seed: int, step: int, sample: int) -> int:
    """The Philox key of a noise direction."""
    key = 0
    for value in (run_seed, step, sample):
        key = splitmix64((key + value) % 2**64, 1)[0]
    return key
