"""What matplotlib draws for ``fastzip demo``: an archive of glyph bitmaps, and a contact sheet.

A member shows a few short words set in one font: 220 rows of 400 pixels, each zero or one. Its
label is the number of that font in ``classes``. Everything about a member follows from the seed
and its position, so members can be drawn one by one, in any order, and come out the same.
"""

from __future__ import annotations

import io
import os
import signal
import string
import warnings
import zipfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastzip

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

HEIGHT, WIDTH = 220, 400
_WORTH_A_PROCESS = 200
"""So many members are drawn in the time that a process takes to begin."""
SEED = 0

_ALPHABET = string.ascii_letters + string.digits
# These hold pictures at the codes of letters: TeX's mathematical encodings, and a font whose
# every glyph is the box that says "no glyph here".
_NO_LETTERS = {"cmex10", "cmmi10", "cmsy10", "LastResortHE-Regular"}


class DemoError(ValueError):
    """The demo can't go on; the message is one line for the person who started it."""


@dataclass(frozen=True)
class Font:
    """One of matplotlib's fonts, open for rendering."""

    name: str
    face: FT2Font


@dataclass(frozen=True)
class Made:
    """The two archives of a demo."""

    images: Path
    labels: Path
    reused: bool


def require_extra() -> None:
    """Raise DemoError unless the packages of the extra ``demo`` can be imported."""
    try:
        import matplotlib  # noqa: F401
        import tqdm  # noqa: F401
    except ImportError as error:
        raise DemoError(
            "the demo needs matplotlib and tqdm: pip install 'matplotlib>=3.8' tqdm "
            f"(no {error.name or error})"
        ) from error


def key(index: int) -> str:
    """Name of the member at `index`."""
    return f"ix-{index:06d}"


@cache
def load_fonts() -> list[Font]:
    """Open the fonts that matplotlib installs and that have every letter and digit."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    fonts = []
    for path in sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf")):
        if path.stem in _NO_LETTERS:
            continue
        face = FT2Font(str(path))
        # The fonts of brackets and of private symbols lack letters; an absent glyph has index 0.
        if all(face.get_char_index(ord(letter)) for letter in _ALPHABET):
            fonts.append(Font(path.stem, face))
    if not fonts:
        raise DemoError("matplotlib's own fonts are not installed, so no glyphs can be drawn")
    return fonts


def label_of(index: int, fonts: list[Font], seed: int = SEED) -> int:
    """Label of the member at `index`: which of `fonts` it is set in."""
    return int(np.random.default_rng([seed, index]).integers(len(fonts)))


def draw(index: int, fonts: list[Font], seed: int = SEED) -> NDArray[np.uint8]:
    """Draw one member.

    Parameters
    ----------
    index : int
        Its position in the archive.
    fonts : list of Font
        The fonts to choose from.
    seed : int
        The same seed, index and fonts give the same picture.

    Returns
    -------
    ndarray of uint8, shape (220, 400)
        1 is ink, 0 is paper.
    """
    rng = np.random.default_rng([seed, index])
    face = fonts[int(rng.integers(len(fonts)))].face  # the first number drawn, as in label_of
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    # Two to five lines of such words deflate to about a thirtieth, like scanned glyphs and masks.
    for band in np.array_split(image, int(rng.integers(2, 6))):
        size = float(rng.uniform(0.45, 0.85)) * len(band)
        letters = max(1, int(rng.uniform(0.5, 1.0) * WIDTH / (0.62 * size)))
        word = "".join(_ALPHABET[i] for i in rng.integers(len(_ALPHABET), size=letters))
        _draw_word(face, word, size, float(rng.uniform(-4, 4)), band, rng)
    return image


def _draw_word(
    face: FT2Font,
    word: str,
    size: float,
    angle: float,
    band: NDArray[np.uint8],
    rng: np.random.Generator,
) -> None:
    """Put `word` somewhere into `band`, smaller than `size` if it would not fit."""
    rows, columns = band.shape
    while True:
        face.set_size(size, 72)
        face.set_text(word, angle)
        face.draw_glyphs_to_bitmap(antialiased=False)
        ink = np.asarray(face.get_image()) > 127
        fit = min(rows / max(1, ink.shape[0]), columns / max(1, ink.shape[1]))
        if fit >= 1:
            break
        size *= 0.97 * fit
    top = int(rng.integers(rows - ink.shape[0] + 1))
    left = int(rng.integers(columns - ink.shape[1] + 1))
    band[top : top + ink.shape[0], left : left + ink.shape[1]] = ink


def _packed(seed: int, index: int) -> NDArray[np.uint8]:
    """A member with eight pixels in a byte, since it goes from one process to another."""
    return np.packbits(draw(index, load_fonts(), seed))


def _pictures(members: int, seed: int) -> Generator[NDArray[np.uint8]]:
    """All members in their order, drawn by as many processes as a batch has threads."""
    workers = min(fastzip.get_num_threads(), members // _WORTH_A_PROCESS)
    if workers < 2:
        yield from (draw(index, load_fonts(), seed) for index in range(members))
        return
    pool = ProcessPoolExecutor(
        workers,
        get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C is for this process, which stops the others
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        for packed in pool.map(partial(_packed, seed), range(members), chunksize=32):
            yield np.unpackbits(packed).reshape(HEIGHT, WIDTH)
    finally:
        pool.shutdown(cancel_futures=True)


class _Next:
    """The next picture when NumPy asks for it, so that one is in memory at a time."""

    __slots__ = ("_pictures", "_tick")

    def __init__(self, pictures: Iterator[NDArray[np.uint8]], tick: Callable[[], object]) -> None:
        self._pictures, self._tick = pictures, tick

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        picture = next(self._pictures)
        self._tick()
        return picture.astype(dtype or np.uint8, copy=False)


def make(
    directory: Path, members: int, *, seed: int = SEED, tick: Callable[[], object] = lambda: None
) -> Made:
    """Make the demo's archives in `directory`, or find them there.

    Parameters
    ----------
    directory : Path
        An existing directory.
    members : int
        How many bitmaps.
    seed : int
        Of the pictures.
    tick : callable
        Called once for each picture that was drawn.

    Returns
    -------
    Made
        ``glyphs-N.npz`` with keys ``ix-000000`` …, and ``glyphs-N-labels.npz`` with ``labels``
        (one font number per member, in the order of the keys) and ``classes`` (the font names).

    Raises
    ------
    DemoError
        If other files have these names: what the demo did not write, it does not overwrite.
    """
    suffix = "" if seed == SEED else f"-seed{seed}"
    images = directory / f"glyphs-{members}{suffix}.npz"
    labels = directory / f"glyphs-{members}{suffix}-labels.npz"
    if images.exists():
        _check(images, labels, members)
        return Made(images, labels, reused=True)

    fonts = load_fonts()
    # Labels take their name first: where the images are found later, the labels are there too.
    with (
        _replacing(images) as images_part,
        _replacing(labels) as labels_part,
        closing(_pictures(members, seed)) as pictures,
    ):
        arrays: dict[str, Any] = {key(i): _Next(pictures, tick) for i in range(members)}
        np.savez_compressed(images_part, **arrays)
        np.savez_compressed(
            labels_part,
            labels=np.array([label_of(i, fonts, seed) for i in range(members)], np.int64),
            classes=np.array([font.name for font in fonts]),
        )
    return Made(images, labels, reused=False)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name that becomes `path` at the end, or vanishes if there was an error."""
    # The name must end in .npz, or NumPy would append that.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part.npz")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_labels(path: Path) -> list[str]:
    """Name of the class of each member, in the order of the keys."""
    with np.load(path) as arrays:
        classes = arrays["classes"]
        return [str(classes[number]) for number in arrays["labels"]]


def _check(images: Path, labels: Path, members: int) -> None:
    """Raise DemoError unless the two files are what `make` leaves."""
    try:
        with zipfile.ZipFile(images) as archive:
            names = archive.namelist()
        count = len(read_labels(labels))
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise DemoError(
            f"{images} can't be reused ({error}): delete it or choose another --dir"
        ) from error
    if count != members or names != [f"{key(i)}.npy" for i in range(members)]:
        raise DemoError(
            f"{images} does not hold the demo's {members:,} members: "
            "delete it or choose another --dir"
        )


def write_sheet(path: Path, batch: Any, titles: list[str], heading: str) -> int:
    """Draw up to 64 samples into a PNG; give their number, 0 if they can't be drawn."""
    drawn = [(_drawable(sample), title) for sample, title in zip(batch[:64], titles, strict=False)]
    samples = [sample for sample, _ in drawn if sample is not None]
    titles = [title for sample, title in drawn if sample is not None]
    if not samples:
        return 0

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(samples), 8)
    rows = -(-len(samples) // columns)
    images = samples[0].ndim > 1
    tall = samples[0].shape[0] / samples[0].shape[1] if images else 0.6
    cell = 1.7 * min(max(tall, 0.3), 2.0) + 0.25  # inches: a picture and its title
    figure = Figure(figsize=(max(1.85 * columns + 0.3, 5), cell * rows + 0.6), dpi=110)
    FigureCanvasAgg(figure)  # savefig draws with it, whatever backend the person has set
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": 0.015,
            "right": 0.985,
            "bottom": 0.1 / (cell * rows + 0.6),
            "top": 1 - 0.7 / (cell * rows + 0.6),
            "wspace": 0.08,
            "hspace": 0.25 / (cell - 0.25),
        },
    )
    figure.suptitle(heading, fontsize=11, y=1 - 0.25 / (cell * rows + 0.6), parse_math=False)
    for axes in grid.flat[len(samples) :]:
        axes.set_axis_off()
    for axes, sample, title in zip(grid.flat, samples, titles, strict=False):
        if images:
            axes.imshow(sample, cmap="gray_r", aspect="equal" if 0.2 < tall < 5 else "auto")
        else:
            axes.plot(sample, linewidth=0.7, color="black")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(linewidth=0.4, color="0.7")
        short = title if len(title) <= 28 else f"{title[:11]}…{title[-12:]}"
        axes.set_title(short, fontsize=6.5, pad=2.5, parse_math=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keys may have letters that the font has not
        figure.savefig(path, format="png")
    return len(samples)


def _decoded(data: bytes) -> NDArray[Any] | None:
    """The picture that these bytes are, small; None if Pillow finds none in them."""
    from PIL import Image

    try:
        # It warns of large pictures, and of odd metadata.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (400, 400))  # a JPEG is decoded to about that size at once
            image.thumbnail((400, 400))
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _drawable(sample: NDArray[Any] | bytes) -> NDArray[Any] | None:
    """Turn a sample into a line (1-D) or a picture of at most a few hundred pixels a side."""
    if isinstance(sample, bytes):
        return _decoded(sample)
    if sample.dtype.kind not in "biuf":
        return None
    if sample.ndim == 1 and len(sample) > 1:
        return sample[:: -(-len(sample) // 2000)]
    if sample.ndim == 3:
        if sample.shape[2] not in (1, 3, 4) and sample.shape[0] in (1, 3, 4):
            sample = np.moveaxis(sample, 0, 2)
        if sample.shape[2] == 1:
            sample = sample[:, :, 0]
        elif sample.shape[2] not in (3, 4):
            return None
    elif sample.ndim != 2:
        return None
    if not sample.size:
        return None
    sample = sample[:: -(-sample.shape[0] // 400), :: -(-sample.shape[1] // 400)]
    if sample.dtype == np.uint8:
        return sample
    # Colours must lie between 0 and 1; what lies outside or is no number is found by its extremes.
    values = sample.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return (values - low) / ((high - low) or 1.0)
