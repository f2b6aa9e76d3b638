"""Checks of single values, whose errors say what must hold and what arrived."""

from math import isfinite


def positive(name: str, value: object) -> float:
    """The number as a float; ``ValueError`` unless it is positive and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number; got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number) or number <= 0:
        raise ValueError(f"{name} must be positive and finite; got {number:g}")
    return number


def check_text(name: str, value: object) -> None:
    """``ValueError`` unless the value is a string that says something."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a non-empty string; got {shown(value)}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """``ValueError`` unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {shown(value)}")


def first_line(error: Exception) -> str:
    """The first line of what an error says that says anything, or else its kind.

    Where that ends with a colon, the next belongs to it.
    """
    lines = [line for each in str(error).splitlines() if (line := each.strip())]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1]}"
    return lines[0] if lines else type(error).__name__


def shown(value: object) -> str:
    """The value on one short line, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits, deep nesting
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
