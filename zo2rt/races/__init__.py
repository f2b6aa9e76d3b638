"""Races, reported while a schedule runs. Imports `backends`.

`backend` wraps a backend and tells `detector` who touched which of the `regions`; `watch` sees
what operators touch.
"""
