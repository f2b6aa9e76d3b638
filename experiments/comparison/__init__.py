"""A validation. Imports `campaign` and `folder`.

`compared` is one configuration, predicted and measured, `memory` its processes, `earlier` a
validation that is scored again; `output` and `screen` tell.
"""
