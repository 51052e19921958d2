"""Images laid out in rows with headers, captions and a legend; pasted without resampling, so that masks stay exact."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imagier.datamodules.palette import as_rgb
from imagier.training.pictures.canvas import ALARM, FAINT, INK

GAP, LINE, TEXT = 16, 27, 20  # pixels: between tiles, line height, font size
_FRAME = 5  # around mistakes; also the margin at the left and right edge


@dataclass(frozen=True)
class Tile:
    """One image, uint8 [H, W, 1 or 3], with lines of text under it; `wrong` gives it a red frame and first line."""

    picture: np.ndarray
    lines: tuple[str, ...] = ()
    wrong: bool = False


@dataclass(frozen=True)
class Row:
    """Tiles side by side under an optional title."""

    tiles: Sequence[Tile]
    title: str = ""


def mosaic(
    rows: Sequence[Row], headers: Sequence[str] = (), legend: Sequence[tuple[str, tuple[int, int, int]]] = ()
) -> np.ndarray:
    """Lay out `rows` on white.

    Args:
        rows: rows of tiles; sizes may differ, every column is as wide as the widest image of all.
        headers: one text per column, above the first row.
        legend: (name, RGB) swatches below the last row.

    Returns:
        uint8 [H, W, 3].
    """
    tiles = [tile for row in rows for tile in row.tiles]
    cell = max((tile.picture.shape[1] for tile in tiles), default=0)
    if any(tile.lines for tile in tiles):
        cell = max(cell, 150)  # room for a few words under the smallest images
    columns = max((len(row.tiles) for row in rows), default=0)
    width = max(columns * (cell + GAP) - GAP + 2 * _FRAME, 400)
    places = _flow_legend(legend, width)
    heights = [_row_height(row) for row in rows]
    top = LINE + GAP // 2 if headers else GAP
    bottom = places[-1][1] + LINE + GAP if places else 0
    sheet = Image.new("RGB", (width, top + sum(heights) + bottom), "white")
    pen = ImageDraw.Draw(sheet)
    for column, header in enumerate(headers):
        _write(pen, (_FRAME + column * (cell + GAP), 4), header, cell, INK, bold=True)
    for row, height in zip(rows, heights, strict=True):
        _paint_row(sheet, pen, row, top, cell)
        top += height
    for (name, color), (left, down) in zip(legend, places, strict=True):
        pen.rectangle((left, top + down + 4, left + 18, top + down + 22), fill=color, outline="#6b7280")
        _write(pen, (left + 26, top + down), name, width, INK)
    return np.asarray(sheet).copy()


def fit(picture: np.ndarray, height: int, width: int, *, smooth: bool = True) -> np.ndarray:
    """Scale uint8 [H, W] or [H, W, C] to at most `height` x `width`, keeping the aspect ratio.

    Small images are enlarged by an integer factor, so that their pixels stay square; large ones are reduced, smoothly
    (Lanczos) or, for masks, by nearest neighbour.
    """
    scale = min(height / picture.shape[0], width / picture.shape[1])
    if scale >= 1:
        return picture.repeat(int(scale), 0).repeat(int(scale), 1)
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    flat = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    filtering = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    small = np.asarray(Image.fromarray(flat).resize(size, filtering))
    return small.reshape(*small.shape[:2], *picture.shape[2:])


def _row_height(row: Row) -> int:
    below = max((tile.picture.shape[0] + _FRAME + LINE * len(tile.lines) for tile in row.tiles), default=0)
    return below + GAP + (LINE if row.title else 0)


def _paint_row(sheet: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: int, cell: int) -> None:
    if row.title:
        _write(pen, (_FRAME, top), row.title, sheet.width - 2 * _FRAME, FAINT)
        top += LINE
    for column, tile in enumerate(row.tiles):
        left = _FRAME + column * (cell + GAP)
        picture = Image.fromarray(as_rgb(tile.picture))
        sheet.paste(picture, (left, top))
        if tile.wrong:
            box = (left - _FRAME, top - _FRAME, left + picture.width + _FRAME - 1, top + picture.height + _FRAME - 1)
            pen.rectangle(box, outline=ALARM, width=_FRAME)
        for number, line in enumerate(tile.lines):
            color = FAINT if number else ALARM if tile.wrong else INK
            _write(pen, (left, top + picture.height + _FRAME + number * LINE), line, cell, color)


def _flow_legend(legend: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> list[tuple[int, int]]:
    """Return where each entry starts, (left, down), filling line after line."""
    places, left, down = [], _FRAME, 0
    for name, _ in legend:
        needed = 26 + round(_font().getlength(name)) + 2 * GAP
        if left > _FRAME and left + needed > width:
            left, down = _FRAME, down + LINE
        places.append((left, down))
        left += needed
    return places


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, color: str, *, bold: bool = False
) -> None:
    text = " ".join(text.split())  # a line break in a name would spill over the next row
    font = _font(bold)
    if font.getlength(text) > width:
        # Cut the middle: file names differ at both ends.
        keep = max(2, int(len(text) * width / font.getlength(text)) - 1)
        text = f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}"
    pen.text(place, text, fill=color, font=font)


@cache
def _font(bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, TEXT)
