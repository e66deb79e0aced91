"""ImageSet: a folder of pictures as grey squares, and back to PNG files that say they are synthetic."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from ecgveil.errors import RecordError
from ecgveil.files import write_atomic
from ecgveil.split import MIN_PATIENTS

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm")
_DARK = 8192  # of 65536 levels; below it they were likelier recorded with 10 or 12 bits than in the dark
LEAST_SIDE = 8  # pixels of the shorter side
NOTICE = "synthetic image made by ecgveil; no picture of a person; not for clinical use"


class Skipped(NamedTuple):
    """A picture left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Grey square images of one size.

    Parameters
    ----------
    pixels : uint8 (n_images, side, side), 0 black to 255 white
    name : of each image
    patient_id : of each image; those of one person share it. Default: the image's own name

    Raises
    ------
    RecordError
        A shape does not fit.
    """

    pixels: np.ndarray
    name: tuple[str, ...]
    patient_id: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", np.asarray(self.pixels, np.uint8))
        object.__setattr__(self, "patient_id", tuple(self.patient_id) or tuple(self.name))
        if self.pixels.ndim != 3 or self.pixels.shape[1] != self.pixels.shape[2]:
            raise RecordError(f"pixels have shape {self.pixels.shape}; they need (images, side, side)")
        if len(self.name) != len(self) or len(self.patient_id) != len(self):
            raise RecordError(f"{len(self.name)} names and {len(self.patient_id)} people for {len(self)} images")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def side(self) -> int:
        return self.pixels.shape[1]

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        return ((),) * len(self)

    def take(self, rows: Sequence[int] | np.ndarray) -> ImageSet:
        """The images at these integer positions, in that order."""
        rows = np.asarray(rows, dtype=int)
        name, patient = (tuple(each[i] for i in rows) for each in (self.name, self.patient_id))
        return replace(self, pixels=self.pixels[rows], name=name, patient_id=patient)

    def content(self) -> tuple[str, np.ndarray]:
        """What tells this set from others: its form, and its values."""
        return repr(self.pixels.shape), self.pixels


def join_images(sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets of one size as one; where an image is named alike in two, all bear the place of their set.

    Raises
    ------
    RecordError
        They differ in size.
    """
    if len({each.side for each in sets}) > 1:
        raise RecordError("image sets differ in size; read them with the same side")
    name = [each for one in sets for each in one.name]
    people = [each for one in sets for each in one.patient_id]
    if len(set(name)) < len(name):
        name = [f"{place}-{each}" for place, one in enumerate(sets, start=1) for each in one.name]
        people = [f"{place}-{each}" for place, one in enumerate(sets, start=1) for each in one.patient_id]
    return ImageSet(np.concatenate([each.pixels for each in sets]), tuple(name), tuple(people))


def read_images(
    folder: str | Path, side: int, *, progress: Callable[[int, int], object] = lambda done, total: None
) -> tuple[ImageSet, list[Skipped]]:
    """Every picture in a folder and the folders within, made grey, its middle square brought to `side` x `side`.

    Transparency is laid on white; 16-bit levels are brought to 8 bits. Pictures of one inner folder count as one
    person's, where there are enough such folders to split by; otherwise each picture counts as a person.

    Parameters
    ----------
    folder : of pictures
    side : of the squares, pixels
    progress : called with (done, total)

    Returns
    -------
    (ImageSet, list of Skipped)
        What could be read, in the order of names, and what was left out.

    Raises
    ------
    RecordError
        No such folder, or no picture in it that can be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        wrong = "is a file" if folder.is_file() else "no such folder"
        raise RecordError(f"{folder}: {wrong}; give a folder of pictures ({', '.join(SUFFIXES)})")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    kept: list[np.ndarray] = []
    names: list[str] = []
    skipped: list[Skipped] = []
    seen: dict[bytes, str] = {}
    for number, file in enumerate(files, start=1):
        name = file.relative_to(folder).as_posix()
        try:
            if not file.is_file():  # a folder or a pipe named so, or a link to nothing
                raise RecordError("is no file")
            pixels = read_image(file, side)
            first = seen.setdefault(hashlib.sha256(pixels.tobytes()).digest(), name)
            if first != name:
                raise RecordError(f"shows the same as {first}")
            kept.append(pixels)
            names.append(name)
        except RecordError as error:
            skipped.append(Skipped(name, str(error)))
        progress(number, len(files))
    if not kept:
        why = f" ({skipped[0].name}: {skipped[0].reason})" if skipped else ""
        raise RecordError(f"{folder} holds no picture that can be read{why}; give a folder of {', '.join(SUFFIXES)}")
    owners = [name.rpartition("/")[0] for name in names]
    people = tuple(owners) if len(set(owners)) >= MIN_PATIENTS else tuple(names)
    return ImageSet(np.stack(kept), tuple(names), people), skipped


def read_image(file: Path, side: int) -> np.ndarray:
    """One picture as uint8 (side, side).

    Raises
    ------
    RecordError
        It cannot be read, or is too small or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                if opened.info.get("Description") == NOTICE:
                    raise RecordError("was made by ecgveil: it shows nobody")
                grey = _grey(ImageOps.exif_transpose(opened))
    except RecordError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RecordError(f"has more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise RecordError(f"cannot be read ({type(error).__name__})") from error
    if min(grey.size) < LEAST_SIDE:
        raise RecordError(f"is {grey.size[0]} x {grey.size[1]} pixels, fewer than {LEAST_SIDE}")
    return np.asarray(ImageOps.fit(grey, (side, side), Image.Resampling.LANCZOS), np.uint8)


def _grey(image: Image.Image) -> Image.Image:
    """8 bits of grey, whatever the mode."""
    if image.mode.startswith("I"):
        levels = np.asarray(image, np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise RecordError("has levels beyond 16 bits")
        if levels.max() < _DARK:
            raise RecordError(f"has 16 bits and no level above {levels.max()}; stretch its levels to 65535")
        return Image.fromarray(np.rint(levels / 257).astype(np.uint8))
    if image.mode == "F":
        raise RecordError("has levels of unknown range (floating point)")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L")


def write_images(images: ImageSet, folder: Path) -> None:
    """A PNG file for each image, which says in its text that it is synthetic; named by `images.name`."""
    for name, pixels in zip(images.name, images.pixels, strict=True):
        write_atomic(folder / f"{name}.png", to_png(pixels), durable=False)


def to_png(pixels: np.ndarray) -> bytes:
    """Grey levels uint8 (height, width) as PNG that says that it is synthetic."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", NOTICE)
    text.add_text("Software", "ecgveil")
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, format="PNG", pnginfo=text)
    return buffer.getvalue()
