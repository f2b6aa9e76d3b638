"""A training run. Imports `case`, `answer`, `campaign`, `entry` and `folder`.

`settings` are its flags, `setup` makes model, `batches` and plan of them, `result` trains and keeps
what came of it; `history` and `observation` are kept meanwhile, `output` writes the folder.
"""
