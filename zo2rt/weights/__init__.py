"""Where weights are while a model is trained. Imports `model` and `backends`.

`arena` is all buffers, `residence` which unit is in which, `block_store` the blocks on NVMe,
`swallowed` counts updates that rounding lost.
"""
