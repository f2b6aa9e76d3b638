"""Models as shapes: what a block holds and computes. Imports `dtypes` and `checks` only.

`shapes` defines a model, `config` reads one from Hugging Face's config.json, `file` writes a model
and reads it again, `presets` knows those that ship (`presets.toml`).
"""
