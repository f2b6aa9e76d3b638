"""The section that every report has: how far to trust its numbers, in the same words and order."""

from collections.abc import Mapping

from analysis.report.document import Block, Document, Paragraph, Ref, Section, TableBlock
from analysis.report.wording import SPACE

TITLE = "How far to trust it"
TOPICS = {
    "band": f"90{SPACE}% band",
    "band_holds": "the band holds",
    "band_lacks": "no interval is known of",
    "hold_out_error": "hold-out error",
    "extrapolated": "beyond what was measured",
    "sources": "where constants are from",
}

_WORDS = Paragraph(
    Ref("trust"),
    " says what is behind the numbers, and how far off they were on real runs that were predicted "
    "before. Of constants that lack an interval, those that most predictions rest on come first.",
)

Grounds = Mapping[str, str]
"""What stands behind some numbers, in words: a text for each of `TOPICS`."""


def trust_section(grounds: Mapping[str, Grounds], *words: Block) -> Section:
    """``grounds`` by what they are for, such as a machine; ``words`` stand before the table.

    Raises ``ValueError`` where one of them leaves a topic out.
    """
    for name, said in grounds.items():
        missing = [topic for topic in TOPICS if topic not in said]
        if missing:
            raise ValueError(f"the grounds of {name} must say: {', '.join(missing)}")
    table = _one(grounds) if len(grounds) == 1 else _several(grounds)
    return Section(TITLE, (*words, _WORDS, table))


def measured_only(**said: str) -> Grounds:
    """Of what nothing was predicted for; ``said`` are the topics that there is a word on."""
    return dict.fromkeys(TOPICS, "nothing was predicted") | said


def states_trust(document: Document) -> bool:
    """Whether the section is there."""
    return any(section.title == TITLE for section in document.sections)


def _one(grounds: Mapping[str, Grounds]) -> TableBlock:
    ((name, said),) = grounds.items()
    return TableBlock(
        key="trust",
        caption=f"What is behind the numbers for {name}.",
        header=("what", "how far"),
        rows=tuple((heading, said[topic]) for topic, heading in TOPICS.items()),
    )


def _several(grounds: Mapping[str, Grounds]) -> TableBlock:
    return TableBlock(
        key="trust",
        caption="What is behind the numbers, one by one.",
        header=("for", "what", "how far"),
        rows=tuple(
            (name, heading, said[topic])
            for name, said in grounds.items()
            for topic, heading in TOPICS.items()
        ),
    )
