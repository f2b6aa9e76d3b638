"""Lanes: forward passes in lockstep from unit to unit. Imports `model`, `noise`, `weights`.

`lane` is one of them, `traversal` all of them through the blocks, `weights` what each sees,
`surroundings` the state of PyTorch that each keeps for itself.
"""
