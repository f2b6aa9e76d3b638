"""A card's day: everything that eight minutes on a card can tell. Imports `campaign`, `comparison`
and `folder`.

`parts` keeps the budget and goes on after faults; `identity`, `notebook` (measurements, and the
machine made of them), `configurations` and `runs` (predicted, then measured) are what parts do,
`day` puts them in order, `table` tells. `wheels` knows the standard library only.
"""
