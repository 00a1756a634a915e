"""Made pictures with what is on them, to train on; and the odd files that people send, to ask about.

Every picture is drawn from its seed and is the same on every machine.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FIGURES = ("disc", "bars", "frame", "wedge")
COLOURS = ((208, 58, 44), (52, 92, 196), (66, 158, 72), (222, 186, 60))


class Picture:
    """A picture and all that is known of it: which figures, where, how large, and the class of every pixel."""

    def __init__(self, seed: int, size: tuple[int, int], figures: list[int] | None = None):
        rng = np.random.Generator(np.random.PCG64(seed))
        width, height = size
        self.figures = sorted(figures if figures is not None else [int(rng.integers(len(FIGURES)))])
        base, slope = rng.uniform(70, 170, 3), rng.uniform(-40, 40, (2, 3))
        across = np.linspace(-1, 1, width)[None, :, None]
        down = np.linspace(-1, 1, height)[:, None, None]
        ground = base + across * slope[0] + down * slope[1] + rng.normal(0, 9, (height, width, 3))
        self.image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
        self.mask = Image.new("L", size, 0)
        # a picture with several figures has a column for each, so that none hides another
        column = width / max(1, len(self.figures))
        for place, figure in enumerate(self.figures):
            side = min(column, height) * rng.uniform(0.35, 0.8)
            x = (place + 0.5) * column + rng.uniform(-0.5, 0.5) * (column - side)
            y = height / 2 + rng.uniform(-0.5, 0.5) * (height - side)
            colour = np.clip(np.array(COLOURS[figure]) + rng.normal(0, 18, 3), 0, 255).astype(int)
            self._draw(figure, (x - side / 2, y - side / 2, x + side / 2, y + side / 2), tuple(int(c) for c in colour))
            self.centre = (x / width, y / height)
            self.share = side / min(width, height)

    def _draw(self, figure: int, box: tuple[float, ...], colour: tuple[int, ...]) -> None:
        left, top, right, bottom = box
        for canvas, ink in ((ImageDraw.Draw(self.image), colour), (ImageDraw.Draw(self.mask), figure + 1)):
            if figure == 0:
                canvas.ellipse(box, fill=ink)
            elif figure == 1:
                for k in range(3):
                    x = left + (right - left) * k / 2.5
                    canvas.rectangle((x, top, x + (right - left) / 5, bottom), fill=ink)
            elif figure == 2:
                canvas.rectangle(box, outline=ink, width=max(1, int((right - left) / 5)))
            else:
                canvas.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=ink)


def draw_set(
    folder: Path, count: int, seed: int, sizes: list[tuple[int, int]], several: bool = False, only: int | None = None
) -> list[Picture]:
    """Writes `count` pictures as images/NNNN.png and masks/NNNN.png, every figure as often as the others."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(seed))
    pictures = []
    for number in range(count):
        figures = [number % len(FIGURES) if only is None else only]
        if several:
            figures = [k for k in range(len(FIGURES)) if rng.random() < 0.5]
        picture = Picture(seed + number, sizes[number % len(sizes)], figures)
        picture.image.save(folder / "images" / f"{number:04d}.png")
        picture.mask.save(folder / "masks" / f"{number:04d}.png")
        pictures.append(picture)
    return pictures


def file_bytes(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def orientation(value: int) -> Image.Exif:
    """What a telephone that was held another way writes beside its picture."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def odd_files(seed: int, size: tuple[int, int] = (96, 80)) -> dict[str, bytes]:
    """What clients send: every form of file, pictures like those of the training and very different ones."""

    def drawn(k: int, of: tuple[int, int] = size) -> Image.Image:
        return Picture(seed + k, of, [k % len(FIGURES)]).image

    with_hole = drawn(13).convert("RGBA")
    with_hole.putalpha(Image.linear_gradient("L").resize(size))
    palette = drawn(10).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    files = {
        "like-training-0.png": file_bytes(drawn(0), "PNG"),
        "like-training-1.png": file_bytes(drawn(1), "PNG"),
        "like-training-2.png": file_bytes(drawn(2), "PNG"),
        "like-training-3.png": file_bytes(drawn(3), "PNG"),
        "subsampled.jpg": file_bytes(drawn(4), "JPEG", quality=85),
        "full-colour.jpg": file_bytes(drawn(5), "JPEG", quality=95, subsampling=0),
        "progressive.jpg": file_bytes(drawn(6), "JPEG", quality=80, progressive=True),
        "gray.jpg": file_bytes(drawn(7).convert("L"), "JPEG", quality=90),
        "four-inks.jpg": file_bytes(drawn(8).convert("CMYK"), "JPEG", quality=92),
        "gray.png": file_bytes(drawn(9).convert("L"), "PNG"),
        "palette.png": file_bytes(palette, "PNG"),
        "palette-with-hole.png": file_bytes(palette, "PNG", transparency=3),
        "black-and-white.png": file_bytes(drawn(12).convert("1"), "PNG"),
        "alpha.png": file_bytes(with_hole, "PNG"),
        "gray-alpha.png": file_bytes(with_hole.convert("LA"), "PNG"),
        "turned-right.jpg": file_bytes(drawn(15), "JPEG", quality=88, exif=orientation(6)),
        "turned-over.jpg": file_bytes(drawn(16), "JPEG", quality=88, exif=orientation(3)),
        "lossy.webp": file_bytes(drawn(17), "WEBP", quality=80),
        "plain.bmp": file_bytes(drawn(18), "BMP"),
        "odd.png": file_bytes(drawn(19, (97, 131)), "PNG"),
        "large.jpg": file_bytes(drawn(20, (613, 407)), "JPEG", quality=75),
        "wide.png": file_bytes(drawn(21, (260, 31)), "PNG"),
        "tall.jpg": file_bytes(drawn(22, (29, 230)), "JPEG", quality=90),
        "tiny.png": file_bytes(drawn(23, (7, 5)), "PNG"),
        "tiny.jpg": file_bytes(drawn(24, (9, 12)), "JPEG", quality=90),
    }
    return files
