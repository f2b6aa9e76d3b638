"""The site of these documents: `make docs`.

Sphinx, since it takes README, docs/ and docstrings as they are (Markdown by MyST), checks every
reference, needs no network, and is well kept; MkDocs has had no release since 2024.
"""

from sphinx.application import Sphinx

from zo2sim import __version__

project, author, release = "zo2sim", "the zo2sim authors", __version__
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "experiments/LOG.md",
]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"zo2sim {release}"
html_show_sphinx = False
autodoc_typehints = "none"  # in the signatures they are long, and the prose says what is meant
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}

CONTENTS = """

```{toctree}
:hidden:

docs/commands
docs/api
docs/running
docs/validation
docs/reference
CONTRIBUTING
experiments/LOG
CHANGELOG
```
"""
"""What stands beside every page; README itself is read elsewhere, too, and has none."""


def setup(app: Sphinx) -> None:
    app.connect("source-read", _with_contents)


def _with_contents(app: Sphinx, name: str, source: list[str]) -> None:
    if name == app.config.root_doc:
        source[0] += CONTENTS
