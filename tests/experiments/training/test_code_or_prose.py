"""The built-in task: text of this Python, in two kinds, never the same in training and test."""

import ast

import pytest

from experiments.training.code_or_prose import (
    CODE,
    FRAGMENT,
    PROSE,
    Texts,
    _code,
    _docstrings,
    _paragraphs,
    code_or_prose,
    read_texts,
)

SOURCE = '''
"""Module docstring, which is prose."""
# a comment
def f(x):
    """Function docstring."""
    return x + 1  # another
'''


@pytest.fixture(scope="module")
def texts() -> Texts:
    return read_texts()


def test_code_is_what_is_left_without_comments_and_docstrings():
    assert _code(ast.parse(SOURCE)) == "def f(x):\nreturn x + 1"


def test_docstrings_are_prose():
    assert _docstrings(ast.parse(SOURCE)) == (
        "Module docstring, which is prose.\n\nFunction docstring."
    )


def test_prose_is_paragraphs_that_begin_with_a_letter():
    words = "words and " * 12
    text = f"A {words}\n  more\n\n   indented {words}\n\nshort\n\n* item {words}"
    assert [*_paragraphs(text)] == [f"A {words}more"]


def test_both_kinds_come_in_turn_and_at_length(texts: Texts):
    fragments = [*texts.fragments(20, seed=3)]
    assert [answer for _, answer in fragments] == [CODE, PROSE] * 10
    assert {len(text) for text, _ in fragments} == {FRAGMENT}
    assert fragments == [*texts.fragments(20, seed=3)]
    assert fragments != [*texts.fragments(20, seed=4)]


def test_what_is_held_out_comes_from_other_documents(texts: Texts):
    for kind in ("code", "prose"):
        training, held_out = (getattr(t, kind) for t in (texts.training, texts.held_out))
        assert len(training) > len(held_out) > 5
        assert set(training) & set(held_out) == set()


def test_the_task_is_balanced_and_named_by_its_content(texts: Texts):
    task, again = (code_or_prose(texts, most_held_out=64) for _ in range(2))
    assert task == again
    assert task.candidates == (CODE, PROSE)
    assert [e.completion for e in task.held_out].count(CODE) == 32
    assert code_or_prose(texts, most_held_out=62).sha256 != task.sha256
