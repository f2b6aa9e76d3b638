"""A training run. Imports `case`, `answer`, `campaign` and `folder`.

`settings` are its flags, `setup` makes model, task and plan of them, `loop` trains and `result` is
what came of it; `history` and `observation` are kept meanwhile, `output` writes the folder.
"""
