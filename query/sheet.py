"""Contact sheets: the query, its nearest and its furthest faces, with scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, PngImagePlugin

from ris.data.durable import disk_error, replacing
from ris.errors import ImageError, InputError
from ris.ingest.alignment.cut import cut_again
from ris.ingest.pictures.formats import DRAWN_NOTE
from ris.query.query_face import QueryFace
from ris.query.searcher import Match, SearchResult
from ris.query.tiles import PALE, Sheet

TILE = 192
GAP = 12
LABEL = 26
TITLE = 40
FRAME = (205, 60, 40)  # around the query


def contact_sheet(result: SearchResult, *, furthest: bool = True) -> Image.Image:
    """The query at the left, a row of the nearest faces and, if asked for, of the furthest."""
    rows = [("most alike", result.nearest)]
    if furthest:
        rows.append(("least alike", result.furthest))
    columns = 1 + max(1, *(len(matches) for _, matches in rows))
    step_x, step_y = TILE + GAP, TILE + LABEL + GAP
    width = GAP + columns * step_x + GAP
    height = TITLE + LABEL * len(rows) + len(rows) * step_y + GAP
    sheet = Sheet(width, height)
    sheet.words(f"faces by {result.label}", GAP, 10, size=20)
    top = TITLE
    _query(sheet, result.query, GAP, top + LABEL)
    _caption(sheet, GAP, top + LABEL + TILE, "query")
    for title, matches in rows:
        sheet.words(title, GAP + step_x + GAP, top + 2, colour=PALE)
        for i, match in enumerate(matches):
            x = GAP + (i + 1) * step_x + GAP
            _face(sheet, match, x, top + LABEL)
            _caption(sheet, x, top + LABEL + TILE, f"{match.rank}.  {match.score:+.3f}")
        top += LABEL + step_y
    return sheet.picture


def overview(results: Sequence[SearchResult], *, columns: int = 5) -> Image.Image:
    """One picture for many searches: a row a search, the query, then its nearest faces."""
    left = 92
    step = TILE + GAP // 2
    width = left + (columns + 1) * step + 2 * GAP
    sheet = Sheet(width, TITLE + len(results) * step + GAP)
    sheet.words("query", left, 10, size=20)
    sheet.words("most alike, by one feature at a time", left + step + GAP, 10, size=20)
    for i, result in enumerate(results):
        y = TITLE + i * step
        sheet.words(result.label, GAP, y + TILE // 2 - 12, size=22)
        _query(sheet, result.query, left, y)
        for j, match in enumerate(result.nearest[:columns]):
            _face(sheet, match, left + GAP + (j + 1) * step, y)
    return sheet.picture


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG or JPEG, by the path's suffix, that says in a note that it is no photo; folders
    are made.

    Raises:
        InputError: another suffix.
        StoreError: it cannot be written.
    """
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if path.suffix.lower() not in formats:
        raise InputError(f"{path}: a picture is written as .png or .jpg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        note = PngImagePlugin.PngInfo()
        note.add_text("Description", DRAWN_NOTE)
        with replacing(path) as temporary:
            picture.save(
                temporary,
                formats[path.suffix.lower()],
                quality=92,
                comment=DRAWN_NOTE,
                pnginfo=note,
            )
    except OSError as e:
        raise disk_error(e, path) from e


def _query(sheet: Sheet, face: QueryFace, x: int, y: int) -> None:
    _face(sheet, face, x, y)
    sheet.frame(x, y, TILE, FRAME)


def _face(sheet: Sheet, face: Match | QueryFace, x: int, y: int) -> None:
    try:
        photo = face.photo if isinstance(face, QueryFace) else face.path
        sheet.tile(Image.fromarray(cut_again(photo, face.quad, TILE)), x, y)
    except ImageError as e:
        # the photo was moved or deleted since: its place in the ranking is still shown
        sheet.filled(x, y, TILE)
        name = face.path.name if face.path else "photo"
        sheet.words(f"{name}\n{e.reason}", x + 8, y + 8, size=13, colour=PALE)


def _caption(sheet: Sheet, x: int, y: int, text: str) -> None:
    sheet.words(text, x + 2, y + 5, size=15)
