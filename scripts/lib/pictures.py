"""Pictures of random sizes, the same ones for the same seed. Needs Pillow, as scripts/lib/client_packages has it."""

import io
import math
import random

SMALLEST, LARGEST = (16, 16), (1600, 1200)


def sides(chance):
    """Width and height, each with an even chance for every doubling: most are small, and a few are large."""
    return tuple(round(math.exp(chance.uniform(math.log(low), math.log(high)))) for low, high in zip(SMALLEST, LARGEST))


def draw(chance):
    """The bytes of a JPEG or of a PNG: clouds with some grain, grey now and then, or with transparency."""
    from PIL import Image

    width, height = sides(chance)
    coarse, fine = (width // 24 + 2, height // 24 + 2), (width // 3 + 2, height // 3 + 2)
    layers = [Image.frombytes("RGB", grain, chance.randbytes(3 * grain[0] * grain[1])).resize((width, height), Image.Resampling.BICUBIC)
              for grain in (coarse, fine)]
    picture, out = Image.blend(*layers, 0.15), io.BytesIO()
    if chance.random() < 0.1:
        picture = picture.convert("L")
    if chance.random() < 0.5:
        picture.save(out, "JPEG", quality=chance.choice((60, 80, 92)), subsampling=chance.choice((0, 2)), progressive=chance.random() < 0.2)
    else:
        if chance.random() < 0.2:
            picture.putalpha(128)
        picture.save(out, "PNG", compress_level=3)
    return out.getvalue(), (width, height)


def album(count, seed):
    """So many pictures, and how many pixels they have together."""
    chance = random.Random(seed)
    drawn = [draw(chance) for _ in range(count)]
    return [data for data, _ in drawn], sum(width * height for _, (width, height) in drawn)
