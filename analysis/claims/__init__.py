"""Published claims as rows: published, predicted, error. Imports `fits`.

`row` is one of them, `setups` what a claim leaves open, `reproduction` all of them; the others
hold a kind of claim each.
"""
