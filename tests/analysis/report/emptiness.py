"""How much of a report's pages is empty: python -m tests.analysis.report.emptiness RUN [RUN ...]

Lines without ink count as empty where they are more than a gap between paragraphs, figures or
sections.
"""

import sys
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from analysis.report.document import Document
from analysis.report.document_file import load
from analysis.report.pdf import page_pngs

PPI = 40
GAP_IN = 0.6
MARGINS_IN = (0.85, 0.9)  # above and below the text


def shares(document: Document, figures: Mapping[str, str]) -> list[float]:
    """The empty share of each page."""
    pages = page_pngs(document, figures, ppi=PPI)
    return [_share(matplotlib.image.imread(BytesIO(page))) for page in pages]


def of_folder(run: Path) -> list[float]:
    """The shares of a run's report."""
    document = load((run / "report.json").read_text(), where=str(run))
    return shares(document, _figures(run, document))


def _figures(run: Path, document: Document) -> dict[str, str]:
    return {key: (run / "figures" / f"{key}.svg").read_text() for key in document.figure_keys}


def _share(picture: NDArray[np.float32]) -> float:
    top, bottom = (round(PPI * inches) for inches in MARGINS_IN)
    ink = picture[top : picture.shape[0] - bottom, :, :3].min(axis=-1) < 0.9
    return _empty_lines(ink.any(axis=1)) / len(ink)


def _empty_lines(inked: NDArray[np.bool_]) -> int:
    return sum(length for length in _gaps(inked) if length > PPI * GAP_IN)


def _gaps(inked: NDArray[np.bool_]) -> Iterator[int]:
    """Lengths of runs of lines without ink."""
    ends = np.flatnonzero(inked)
    yield from np.diff(np.concatenate(([-1], ends, [len(inked)]))) - 1


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name} {' '.join(f'{share:.0%}' for share in of_folder(Path(name)))}\n")
