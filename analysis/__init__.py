"""Reads records and traces, fits, compares, draws and writes; never imports torch or `zo2rt`.

`fits` finds constants, `validation` scores predictions, `claims` checks published ones, `plots`
return figures, `report` documents. `table` and `energy` are what several rooms need.
"""
