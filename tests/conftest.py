"""Settings of every test: times on a busy machine prove nothing, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("zo2sim", deadline=None)
settings.load_profile("zo2sim")
