"""Figures, returned and not shown, in one `style`. Imports `table`, `fits`, `claims`, `validation`.

A module draws one figure, those of a sweep are in `sweep`.
"""
