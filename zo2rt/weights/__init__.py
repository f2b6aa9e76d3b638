"""Where weights are while a model is trained. Imports `model` and `backends`.

`arena` is all buffers, `residence` which unit is in which, `block_store` the blocks on NVMe,
`pending` has updates applied before anybody reads, `swallowed` counts those that rounding lost.
"""
