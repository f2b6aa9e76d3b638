"""Predicts zeroth-order fine-tuning that streams a model through a device; never imports torch.

`policies` makes a `schedule` from a model's shape and a plan, `simulate` runs it at the prices of
`cost`, `memory` says what it needs, `predict` puts these together, `search` finds the best plan.
"""
