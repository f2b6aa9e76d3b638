"""A sweep's jobs. Imports `case`, `answer` and `folder`.

`grid` and `presets` make jobs, `job` answers one, `pool` and `workers` many at once, `answers`
keeps them so that a sweep resumes; `tables`, `records` and `report` sum up.
`tuned` is the folder that a search leaves.
"""
