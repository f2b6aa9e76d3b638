"""What a narrow format costs in accuracy: one encoder, fine-tuned beside its base in each format.

`paragraphs` is real text that comes with Python packages, `classifier` an encoder with a prototype
per class, `compared` the runs over formats and seeds, and `__main__` the command. Imports `folder`
and `training`.
"""
