"""From flags to a case. Imports `cli` and `entry`, which reads flags.

`spec` is what was asked, as plain data, and `target` its flags; `axes` reads grids, `sizes` bytes
and seconds; `computer` is what this computer says of itself.
"""
