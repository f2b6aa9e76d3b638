"""The section that every report has."""

import re

import pytest

from analysis.report.document import Document, Section, TableBlock
from analysis.report.trust import TITLE, TOPICS, states_trust, trust_section

SAID = {topic: f"what is said of {topic}" for topic in TOPICS}


def block(section: Section) -> TableBlock:
    *_, found = section.blocks
    assert isinstance(found, TableBlock)
    return found


def test_one_machine_is_read_downwards():
    found = block(trust_section({"a100": SAID}))
    assert found.rows == tuple(zip(TOPICS.values(), SAID.values(), strict=True))


def test_several_machines_stand_below_each_other():
    found = block(trust_section({"a100": SAID, "l40s": SAID}))
    assert found.header == ("for", "what", "how far")
    assert found.rows[:2] == tuple(
        ("a100", heading, SAID[topic]) for topic, heading in [*TOPICS.items()][:2]
    )
    assert [row[0] for row in found.rows] == 6 * ["a100"] + 6 * ["l40s"]


@pytest.mark.parametrize("topic", TOPICS)
def test_no_topic_is_left_out(topic: str):
    said = {name: text for name, text in SAID.items() if name != topic}
    with pytest.raises(ValueError, match=re.escape(f"the grounds of a100 must say: {topic}")):
        trust_section({"a100": said})


def test_a_report_says_it_or_does_not():
    said = Document(title="t", abstract=(), sections=(trust_section({"a100": SAID}),))
    assert (said.sections[0].title, states_trust(said)) == (TITLE, True)
    assert not states_trust(Document(title="t", abstract=(), sections=()))
