"""Batches for training. Imports `model` and `noise`.

`examples` pads and masks, `order` shuffles so that a run resumes, `ranking` scores candidates,
`pretrain` gives a small model something to know.
"""
