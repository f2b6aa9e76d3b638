"""The PDF of a document that Typst cannot tag."""

import pytest
import typst

from analysis.report import pdf
from analysis.report.pdf import pdf_bytes
from tests.analysis.report.test_report import SQUARE, document_of


@pytest.mark.parametrize("message", ["internal error: parent group", "unknown variable"])
def test_only_what_typst_cannot_tag_is_set_untagged(message: str, monkeypatch: pytest.MonkeyPatch):
    class Stubborn:
        def compile(self, *, pdf_tags: bool, **_: object) -> bytes:
            if pdf_tags:
                raise typst.TypstError(message, message)
            return b"%PDF untagged"

    monkeypatch.setattr(pdf, "_compiler", Stubborn)
    if "internal" in message:
        assert pdf_bytes(document_of("x"), {"one": SQUARE}) == b"%PDF untagged"
    else:
        with pytest.raises(ValueError, match=f"its PDF must be set; .*{message}"):
            pdf_bytes(document_of("x"), {"one": SQUARE})
