"""Documents as data, and typeset. Imports `plots` and `table`.

`document` is the model and `document_file` its JSON, `wording` turns numbers into words; `html`
and `pdf` typeset, `paper` joins runs, `plain` is for runs without a document. `sweep` and
`commands` write the sections.
"""
