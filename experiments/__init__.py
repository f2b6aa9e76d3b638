"""The commands, one file per verb: the only place that parses, prints, or chooses files.

`entry` is the script `zo2sim`. What verbs share: `cli`, `arguments` and `screen`, `case` (flags
to a case), `answer` (what is said of one), `folder` (what a run leaves). What one verb needs:
`jobs` (sweep), `training` (run), `campaign` (calibrate), `comparison` (validate), `day` (card),
`speed` (bench), `here` (machines).
"""
