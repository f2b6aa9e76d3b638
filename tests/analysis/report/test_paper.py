"""`report`: any runs become one paper, whose page works offline in a real browser."""

import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.plots.sweep.both_ways import both_ways
from analysis.report.document import (
    TRACE,
    Document,
    FigureBlock,
    File,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.document_file import load
from analysis.report.html import html_text
from analysis.report.paper import Part, paper
from analysis.report.trust import TOPICS, trust_section
from experiments import report
from experiments.folder.write import Run, records, write_records, write_run
from tests.browser import executable, visit
from tests.commands import Outcome, call
from tests.sweep_table import sweep_table

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"/>'
MARKED = SQUARE.replace(
    "/>",
    """><metadata id="zo2sim-values">[{"left": 0.25, "top": 0.1, "width": 0.5, "height": 0.2,
    "text": "upload: 3"}]</metadata></svg>""",
)
ROW = {
    "run_id": "r",
    "config_hash": "c",
    "metric": "step_s",
    "value": 1.5,
    "unit": "s",
    "provenance": "measured",
}


def told(word: str, *, sections: tuple[Section, ...] = ()) -> Document:
    """A report whose figure, table and file have the names that every run's have."""
    figure = FigureBlock(key="one", caption=f"figure of {word}")
    words = Paragraph(Ref("one"), " and ", Ref("two"), File(TRACE))
    table = TableBlock(key="two", caption=word, header=("a",), rows=((word,),))
    return Document(
        title=word,
        abstract=(f"abstract of {word}, see ", Ref("one")),
        sections=(Section("Found", (words, figure, table)), *sections),
        provenance=(("commit", f"c-{word}"), ("numpy", "2.0")),
    )


TRUST = trust_section({"a machine": dict.fromkeys(TOPICS, "as assumed")})


def limits(word: str = "limits") -> Section:
    table = TableBlock(key="three", caption="t", header=("a",), rows=((word,),))
    return Section("Limits", (Paragraph(Ref("three")), table))


def part(word: str, *sections: Section) -> Part:
    return Part(name=word, verb="tune", document=told(word, sections=sections), files=(TRACE,))


def assembled(*parts: Part) -> Document:
    return paper(parts, title="t", provenance={"commit": "own"})


def whole_run(word: str) -> Run:
    return Run(
        verb="tune",
        config={},
        summary={"step_s": 1.5},
        provenance={"commit": "0123abc"},
        records=records([ROW, ROW]),
        figures={"one": both_ways(sweep_table())},
        traces={TRACE: json.dumps({"traceEvents": [], "name": word})},
        document=told(word, sections=(TRUST,)),
    )


def plain_folder(folder: Path) -> Path:
    """What some other command may have left: numbers and a picture, no words."""
    write_run(folder, whole_run("x"), typeset=False)
    for name in ("run.json", "report.json"):
        (folder / name).unlink()
    (folder / "figures" / "one.svg").rename(folder / "figures" / "7 Großes.svg")
    return folder


def assemble(*runs: Path, out: Path) -> Outcome:
    pytest.importorskip("typst")
    return call(report, *map(str, runs), "--out", str(out), "--json", "-")


def test_runs_become_sections_and_their_sections_parts_of_them():
    sections = assembled(part("a"), part("b")).numbered_sections
    assert [(place, section.title) for place, section in sections] == [
        *(("1", "The runs"), ("2", "a"), ("2.1", "Found"), ("3", "b"), ("3.1", "Found")),
    ]


def test_figures_tables_and_files_keep_their_run():
    document = assembled(part("a"), part("b"))
    assert document.figure_keys == ("run1-one", "run2-one")
    texts = [b.text for b in document.blocks if isinstance(b, Paragraph)]
    assert (Ref("run2-one"), " and ", Ref("run2-two"), File(f"run2-{TRACE}")) in texts
    assert ("abstract of b, see ", Ref("run2-one")) in texts


def test_what_two_runs_share_is_said_once_and_still_referred_to():
    pointing = Section("Also", (Paragraph(Ref("three")),))
    document = assembled(part("a", limits()), part("b", limits(), pointing))
    assert [s.title for s in document.sections].count("Limits") == 1
    also = next(s for s in document.sections if s.title == "Also")
    assert also.blocks == (Paragraph(Ref("run1-three")),)


def test_what_differs_by_a_word_is_said_twice():
    document = assembled(part("a", limits("x")), part("b", limits("y")))
    assert [s.title for s in document.sections].count("Limits") == 2


def test_every_run_says_where_it_comes_from():
    assert assembled(part("a"), part("b")).provenance == (
        *(("commit", "own"), ("a: commit", "c-a"), ("b: commit", "c-b")),
    )


def test_a_paper_of_any_folders(tmp_path: Path):
    """A run with words, a folder without, and a paper as a part of the next one."""
    write_run(tmp_path / "tune", whole_run("tuned"), typeset=False)
    plain = plain_folder(tmp_path / "other")
    outcome = assemble(tmp_path / "tune", plain, out=tmp_path / "paper")
    assert outcome.code == 0
    assert outcome.json["runs"] == [
        {"name": "tune", "verb": "tune", "records": 2, "figures": 1, "traces": 1},
        {"name": "other", "verb": "unknown", "records": 2, "figures": 1, "traces": 1},
    ]
    document = load((tmp_path / "paper" / "report.json").read_text(), where="paper")
    assert document.figure_keys == ("run1-one", "run2-figure-7-gro-es")
    recorded = next(b for b in document.numbered if b.key == "run2-recorded")
    assert isinstance(recorded, TableBlock)
    assert recorded.rows == (("step_s", "s", "2", "1.50", "1.50", "1.50"),)
    trace = gzip.decompress((tmp_path / "paper" / f"run1-{TRACE}").read_bytes())
    assert json.loads(trace)["name"] == "tuned"
    assert assemble(tmp_path / "paper", out=tmp_path / "again").code == 0


def test_the_same_runs_give_the_same_paper(tmp_path: Path):
    write_run(tmp_path / "tune", whole_run("tuned"), typeset=False)
    for name in ("a", "b"):
        assemble(tmp_path / "tune", out=tmp_path / name)
    for name in ("report.pdf", "report.html", "report.json", "figures/run1-one.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_folders_of_one_name_are_told_apart(tmp_path: Path):
    for parent in ("a", "b"):
        write_run(tmp_path / parent / "run", whole_run(parent), typeset=False)
    outcome = assemble(tmp_path / "a" / "run", tmp_path / "b" / "run", out=tmp_path / "paper")
    assert [run["name"] for run in outcome.json["runs"]] == ["a/run", "b/run"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"report.json": "{}"}, "report.json: must hold a document"),
        ({"report.json": None, "summary.json": "[1]"}, "summary.json: must be a JSON object"),
        ({"run.json": "{"}, "run.json: must be JSON"),
        ({"figures/one.svg": "<svg><script>1</script></svg>"}, "must not run or fetch anything"),
        ({"figures/one.svg": '<svg><image href="http://x.org/a"/></svg>'}, "must not run or fetch"),
        ({"figures/one.svg": "no picture"}, "its PDF must be set; "),
        ({"figures/one.svg": None}, "its report shows figures/one.svg, which is missing"),
        ({"records.parquet": "no"}, "records.parquet: must be a Parquet file"),
    ],
)
def test_a_broken_folder_is_named(spoil: dict[str, str | None], message: str, tmp_path: Path):
    folder = tmp_path / "run"
    write_run(folder, whole_run("x"), typeset=False)
    for name, text in spoil.items():
        (folder / name).unlink()
        if text is not None:
            (folder / name).write_text(text)
    outcome = call(report, str(folder), "--out", str(tmp_path / "paper"))
    assert outcome.code == 2
    assert message in outcome.complaint


def test_what_is_no_run_is_refused(tmp_path: Path):
    out = ("--out", str(tmp_path / "paper"))
    assert "which has none" in call(report, str(tmp_path), *out).complaint
    assert "which is no folder" in call(report, str(tmp_path / "no"), *out).complaint
    assert call(report, *out).code == 2
    for name in ("run.json", "summary.json"):
        (tmp_path / name).write_text("{}")
    same = call(report, str(tmp_path), "--out", str(tmp_path))
    assert "--out must not be one of the runs" in same.complaint


SCRIPT = '"><script>document.title="!"</script><img src=x onerror="document.title=1">'
XMLNS = "http://www.w3.org/2000/svg"
PICTURE = f"""<svg xmlns="{XMLNS}" xmlns:x="{XMLNS}" width="9pt" height="9pt">
<x:script>parent.document.title="!"</x:script><rect width="9" height="9"/></svg>"""


def planted(folder: Path, *, words: bool) -> Path:
    """A stranger's folder: a script in every text, name and picture that a report reads."""
    write_run(folder, whole_run(SCRIPT), typeset=False)
    (folder / "run.json").write_text(
        json.dumps({"verb": SCRIPT, "provenance": {SCRIPT: SCRIPT, "commit": SCRIPT}})
    )
    (folder / "summary.json").write_text(json.dumps({SCRIPT: SCRIPT, "deep": {SCRIPT: [SCRIPT]}}))
    row = dict.fromkeys(ROW, SCRIPT) | {"value": 1.5}
    write_records(folder, records([row]))
    (folder / "figures" / "one.svg").write_text(PICTURE)
    name = SCRIPT.replace("/", "")
    (folder / "figures" / f"{name}.svg").write_text(PICTURE)
    (folder / f"{name}.json.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    if not words:
        (folder / "report.json").unlink()
    return folder


class _Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("words", [True, False])
def test_a_stranger_s_folder_brings_no_script_into_the_page(words: bool, tmp_path: Path):
    folder = planted(tmp_path / "<script>x<", words=words)
    assert assemble(folder, out=tmp_path / "paper").code == 0
    page = tmp_path / "paper" / "report.html"
    tags = _Tags(page.read_text()).found
    assert {"svg", "iframe", "object"}.isdisjoint(tag for tag, _ in tags)
    assert [attributes for tag, attributes in tags if tag == "script"] == [{}]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    images = [attributes["src"] or "" for tag, attributes in tags if tag == "img"]
    assert images
    assert all(src.startswith("data:image/svg+xml;base64,") for src in images)
    (policy,) = (a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert re.sub(r"sha256-[\w+/]{43}=", "OURS", policy or "") == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'OURS'; "
        "base-uri 'none'; form-action 'none'"
    )
    if executable() is not None:
        seen = visit(page)
        assert (seen.errors, seen.requests) == ((), ())
        assert seen.title == "Zeroth-order fine-tuning with offloaded weights"


@pytest.mark.skipif(executable() is None, reason="no Chromium is installed")
def test_the_page_works_offline_in_a_browser(tmp_path: Path):
    """No error in its console, no request to anywhere, and the trace comes out of the page."""
    write_run(tmp_path / "tune", whole_run("tuned"), typeset=False)
    assemble(tmp_path / "tune", plain_folder(tmp_path / "other"), out=tmp_path / "paper")
    page = tmp_path / "paper" / "report.html"
    seen = visit(page)
    assert (seen.errors, seen.requests) == ((), ())
    assert seen.title == "Zeroth-order fine-tuning with offloaded weights"
    assert seen.height > 800
    assert len(re.findall(r'<a download="run\d-trace.json.gz" href="data:', page.read_text())) == 2


@pytest.mark.skipif(executable() is None, reason="no Chromium is installed")
def test_a_timeline_zooms_and_its_values_stay_on_their_marks(tmp_path: Path):
    """The policy lets the script run; a field keeps its share of the picture."""
    document = Document(
        title="t",
        abstract=("a",),
        sections=(Section("s", (FigureBlock(key="timeline", caption="c", wide=True),)),),
    )
    page = tmp_path / "page.html"
    page.write_text(html_text(document, {"timeline": MARKED}))
    seen = visit(
        page,
        ask="""for (let n = 0; n < 2; n++) document.querySelector("[aria-label='Zoom in']").click();
        const [mark, img] = [document.querySelector(".drawn i"), document.querySelector("img")]
            .map((each) => each.getBoundingClientRect());
        [img.width / document.querySelector(".plot").clientWidth, mark.width / img.width].join()""",
    )
    assert (seen.errors, seen.requests) == ((), ())
    assert [round(float(number), 2) for number in str(seen.said).split(",")] == [4.0, 0.5]


@pytest.mark.skipif(executable() is None, reason="no Chromium is installed")
def test_the_browser_notices_errors_and_requests(tmp_path: Path):
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://127.0.0.1:9/a.png"><script>nope()</script>')
    seen = visit(page)
    assert seen.requests == ("http://127.0.0.1:9/a.png",)
    assert len(seen.errors) == 2
