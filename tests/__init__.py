"""The tests, in the rooms of what they test; what several rooms need lies here."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
"""The checkout."""
GOLDEN = TESTS / "golden"
"""Schedules as they must stay, to the byte."""
