"""Street scenes with exact labels, made from a seed.

Each scene is a small world in metres, seen by one camera: the pixel that shows a thing and the pixel that
is labelled with it come from the same ray, so the labels are exact by construction. Here are the plan of a
street, its ground and sky, and the way from light to bytes; scenery.py has the things that stand in it.

The arrays go through plain arithmetic and square roots only, which every processor rounds alike; that is
why a seed stands for the same pixels on every machine.

Neither file knows of networks. numpy and Pillow are all they need.
"""

import argparse
import hashlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from scenery import (
    ROAD, SAMPLES, SIDEWALK, SKY, Building, Camera, Canvas, Car, F, Light, Noise, Person, Shot, Tree, clip01, linear, mix,
    smooth, stripe,
)

LABELS = ["sky", "building", "road", "sidewalk", "car", "tree", "pedestrian"]
PALETTE = [(70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232), (0, 0, 142), (107, 142, 35), (220, 20, 60)]

SIZE = (256, 192)  # width, height
CHECK_SEEDS = (0, 1, 2)
CHECK_DIGEST = "a9f1f67f0234836e4e60189ee21119532a62778461bc2354244175be0cb21f80"


class Street:
    """The plan of one scene, in metres: x to the right of the road's middle, y up, z away from the camera."""

    def __init__(self, rng: np.random.Generator):
        self.road = rng.uniform(3.6, 6.0)
        self.walk = rng.uniform(2.6, 4.2)
        self.asphalt = linear(rng.uniform(0.30, 0.46) + rng.uniform(-0.015, 0.015, 3))
        self.paving = linear(rng.uniform(0.60, 0.76) + rng.uniform(-0.05, 0.05, 3))
        self.slab = F(rng.uniform(0.6, 1.1))
        self.crossing = rng.uniform(15, 45) if rng.random() < 0.45 else None
        self.crossing_half = rng.uniform(3.2, 4.5)
        self.zebra = (self.crossing - self.crossing_half - 3.6) if self.crossing else rng.uniform(7, 28)
        self.has_zebra = self.crossing is not None or rng.random() < 0.35
        self.rows = {side: self._row(rng, side) for side in (-1, 1)}
        self.backdrop = self._backdrop(rng)
        self.cars = self._cars(rng)
        self.trees = self._trees(rng)
        self.people = self._people(rng)

    def _free(self, z: float, margin: float = 0.0) -> bool:
        """False inside the side street."""
        return self.crossing is None or abs(z - self.crossing) > self.crossing_half + margin

    def _row(self, rng, side: int) -> list[Building]:
        row, z = [], rng.uniform(-14, 0)
        tall = rng.uniform(0, 1)
        gap = (1e9, 1e9)  # where the side street leaves no room, from and to
        if self.crossing:
            gap = (self.crossing - self.crossing_half - 1.5, self.crossing + self.crossing_half + 1.5)
        while z < 130:
            long = rng.uniform(7, 18)
            if z < gap[1] and z + long > gap[0]:
                if gap[0] - z > 4:
                    row.append(self._building(rng, side, z, gap[0] - z, tall))
                z = gap[1]
                continue
            row.append(self._building(rng, side, z, long, tall))
            z += long + (rng.uniform(2, 7) if rng.random() < 0.16 else 0)
        return row

    def _building(self, rng, side: int, z: float, long: float, tall: float) -> Building:
        height = rng.uniform(5.5, 11) if rng.random() > tall else rng.uniform(11, 26)
        x = side * (self.road + self.walk + (rng.uniform(0.3, 1.6) if rng.random() < 0.25 else 0))
        return Building(rng, side, x, z, z + long, rng.uniform(8, 13), height)

    def _backdrop(self, rng) -> list[Building]:
        far = [Building(rng, 0, x, z, z + 20, rng.uniform(18, 45), rng.uniform(12, 42))
               for x, z in zip(np.arange(-330, 330, 17), rng.uniform(190, 300, 39))]
        if rng.random() < 0.4:
            z, x = rng.uniform(75, 125), -70.0
            while x < 70:
                wide = rng.uniform(10, 20)
                far.append(Building(rng, 0, x, z, z + 12, wide, rng.uniform(9, 24)))
                x += wide
        return far

    def _cars(self, rng) -> list[Car]:
        cars = []
        for side in (-1, 1):
            heading = side  # traffic keeps right: the left lane comes towards the camera
            if rng.random() < 0.75:
                z = rng.uniform(3.5, 12)
                while z < 80:
                    if rng.random() < 0.55 and self._free(z, 5) and not self._on_zebra(z, 3.2):
                        cars.append(Car(rng, side * (self.road - 1.05), z, heading))
                    z += rng.uniform(5.6, 8)
            if rng.random() < 0.55:
                z = rng.uniform(7, 45)
                if not self._on_zebra(z, 3.2):
                    cars.append(Car(rng, side * (self.road - 1.9) * 0.42, z, heading))
        if self.crossing and rng.random() < 0.5:
            cars.append(Car(rng, rng.uniform(-14, 14), self.crossing + 1.4, 0))
        return cars

    def _on_zebra(self, z: float, margin: float) -> bool:
        return self.has_zebra and self.zebra - margin < z < self.zebra + 3 + margin

    def _trees(self, rng) -> list[Tree]:
        trees = []
        for side in (-1, 1):
            if rng.random() < 0.7:
                z, gap = rng.uniform(4, 13), rng.uniform(7, 12)
                while z < 90:
                    if self._free(z, 2) and rng.random() < 0.8:
                        trees.append(Tree(rng, side * (self.road + rng.uniform(0.7, 1.1)), z))
                    z += gap * rng.uniform(0.85, 1.15)
        return trees

    def _people(self, rng) -> list[Person]:
        people = []
        for _ in range(rng.integers(2, 9)):
            z = rng.uniform(3.6, 10) if rng.random() < 0.7 else rng.uniform(10, 22)
            people.append(Person(rng, rng.choice((-1, 1)) * (self.road + rng.uniform(0.5, self.walk - 0.4)), z))
        if self.has_zebra and self.zebra > 3 and rng.random() < 0.65:
            for _ in range(rng.integers(1, 4)):
                people.append(Person(rng, rng.uniform(-0.9, 0.9) * self.road, self.zebra + rng.uniform(0.5, 2.5)))
        return people


def draw_sky(shot: Shot) -> None:
    camera, light, noise = shot.camera, shot.light, shot.noise
    dx, dy = np.broadcast_arrays(camera.dx[None, :], np.maximum(camera.dy, F(0))[:, None])
    length = np.sqrt(1 + dx * dx + dy * dy)
    up = dy / length
    rgb = mix(light.horizon, light.zenith, smooth(up / F(0.45)))
    facing = (dx * F(light.sun[0]) + dy * F(light.sun[1]) + F(light.sun[2])) / length
    rgb = rgb + light.sunlight * (F(0.7) / (1 + (1 - facing) * F(30)))[..., None] * (1 - light.clouds)
    cx, cz = dx / (dy + F(0.12)), 1 / (dy + F(0.12))
    octaves = ((0.9, 0.5), (2.1, 0.28), (4.7, 0.15), (9.5, 0.07))  # frequency, weight
    cloud = sum(noise.at(cx * F(f), cz * F(f) * F(0.8), 7) * F(w) for f, w in octaves)
    cover = smooth((cloud - (F(0.74) - F(0.5) * light.clouds)) * F(4.5)) * clip01(up * 9)
    white = light.sunlight * F(0.55) + light.ambient * F(0.45)
    shot.canvas.rgb[:] = mix(rgb, white * (F(0.82) + F(0.3) * cloud)[..., None], cover * F(0.85))


def paving(street: Street, noise: Noise, x, z, footprint) -> tuple[np.ndarray, np.ndarray]:
    """Albedo of the ground at (x, z), and where it is road. `footprint` is a pixel's size across and along."""
    wide, deep = footprint
    half, off = F(street.road), np.abs(x)
    along = np.ones_like(x, bool)  # False on the side street's own surface
    if street.crossing:
        along = np.abs(z - F(street.crossing)) > F(street.crossing_half)
    road = (off < half) | ~along
    grain = noise.at(x * 6, z * 6) * F(0.22) + noise.at(x * F(0.8), z * F(0.35), 1) * F(0.28) + F(0.74)
    wheel_tracks = stripe(off - half * F(0.5), F(1.6), F(0.5), wide) * road
    tar = street.asphalt * (grain - F(0.12) * wheel_tracks)[..., None]
    middle = stripe(x, F(1e3), F(0.14), wide) * (z % 6 < 3)
    edges = stripe(off - (half - F(2.25)), F(1e3), F(0.10), wide)
    inner = (off < half - F(0.2)) & along
    paint = np.maximum(middle, edges) * inner
    if street.has_zebra:
        band = (z > F(street.zebra)) & (z < F(street.zebra + 3)) & inner
        paint = np.where(band, x % 1 < F(0.5), paint)
    tar = mix(tar, linear((0.86, 0.86, 0.82)), paint * (F(0.6) + F(0.35) * noise.at(x * 5, z * 5, 2)))
    gutter = stripe(off - (half - F(0.06)), F(1e3), F(0.12), wide) * road
    slab = noise.cell(np.floor(x / street.slab), np.floor(z / street.slab), 3)
    stone = street.paving * (F(0.84) + F(0.16) * slab + F(0.25) * (grain - 1))[..., None]
    seams = np.maximum(stripe(x, street.slab, F(0.04), wide), stripe(z, street.slab, F(0.04), deep))
    stone = stone * (1 - F(0.35) * seams)[..., None]
    kerb = ~road & (off < half + F(0.2))
    stone = np.where(kerb[..., None], street.paving * F(1.12), stone)
    return np.where(road[..., None], tar * (1 - F(0.45) * gutter)[..., None], stone), road


def ground_shadows(street: Street, light: Light, noise: Noise, x, z) -> tuple[np.ndarray, np.ndarray]:
    """How far cars, people and trees hide the sun from the ground, and how dark it is right under them."""
    hidden, contact = np.zeros_like(x), np.zeros_like(x)
    height = max(light.sun[1], 0.15)
    lean_x, lean_z = -light.sun[0] / height, -light.sun[2] / height  # a shadow's shift per metre of height

    def blob(cx: float, cz: float, rx: float, rz: float) -> np.ndarray:
        return ((x - F(cx)) / F(rx)) ** 2 + ((z - F(cz)) / F(rz)) ** 2

    for car in street.cars:
        ex, ez = car.extent()
        contact = np.maximum(contact, clip01(F(2.6) - F(2.2) * blob(car.x, car.z, ex * 1.25, ez * 1.2)))
        cast = blob(car.x + lean_x * 0.6, car.z + lean_z * 0.6, ex * 1.3, ez * 1.1)
        hidden = np.maximum(hidden, clip01(4 - 4 * cast))
    for person in street.people:
        contact = np.maximum(contact, clip01(1 - blob(person.x, person.z, 0.35, 0.35)))
        wide, deep = 0.25 + 0.6 * abs(lean_x), 0.25 + 0.6 * abs(lean_z)
        cast = blob(person.x + lean_x * 0.8, person.z + lean_z * 0.8, wide, deep)
        hidden = np.maximum(hidden, clip01(4 - 4 * cast))
    dapple = noise.at(x * F(1.7), z * F(1.7), 5) * F(0.8)
    for tree in street.trees:
        up = tree.trunk + tree.size
        leaves = 1 - blob(tree.x + lean_x * up, tree.z + lean_z * up, tree.size * 1.3, tree.size * 1.3)
        hidden = np.maximum(hidden, clip01((leaves + F(0.75) - dapple) * 3) * (leaves > F(-0.6)))
    return hidden, contact


def draw_ground(shot: Shot, street: Street) -> None:
    camera = shot.camera
    rows = slice(int(np.searchsorted(-camera.dy, F(0.004))), camera.height)
    z = (camera.y / -camera.dy[rows])[:, None]
    x = camera.x + camera.dx[None, :] * z
    z = np.broadcast_to(z, x.shape)
    albedo, road = paving(street, shot.noise, x, z, (z / camera.focal, z * z / (camera.y * camera.focal)))
    hidden, contact = ground_shadows(street, shot.light, shot.noise, x, z)
    hidden = np.maximum(hidden, shot.shadow(x, F(0), z))
    lit = shot.light.shade(albedo, (F(0), F(1), F(0)), hidden)
    shot.canvas.rgb[rows] = lit * (1 - F(0.72) * contact)[..., None]
    shot.canvas.label[rows] = np.where(road, ROAD, SIDEWALK)
    shot.canvas.depth[rows] = z


def caster(street: Street, light: Light):
    """A function that tells where the row of buildings on the sun's side hides the sun."""
    side = 1 if light.sun[0] > 0 else -1
    row = street.rows[side]
    starts, ends, heights = (np.array([getattr(b, k) for b in row], F) for k in ("z0", "z1", "height"))
    plane = F(side * (street.road + street.walk))
    sx, sy, sz = (F(v) for v in light.sun)
    slant = sx if abs(sx) > 1e-3 else F(side * 1e-3)

    def shadow(x, y, z):
        t = (plane - x) / slant
        at = z + t * sz
        k = np.clip(np.searchsorted(starts, at) - 1, 0, len(row) - 1)
        covered = (at >= starts[k]) & (at < ends[k]) & (y + t * sy < heights[k]) & (t > 0)
        return np.asarray(covered, F)

    return shadow


def develop(canvas: Canvas, light: Light, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """From light to the camera's bytes: haze, lens blur, vignette, colour cast, sensor noise."""
    fade = 1 / np.square(1 + canvas.depth * light.haze)
    fade = np.where(canvas.label == SKY, F(1), fade)
    hazy = mix(light.horizon * F(0.92), canvas.rgb, fade)
    n = SAMPLES
    image = sum(hazy[i::n, j::n] for i in range(n) for j in range(n)) / F(n * n)
    side = F(rng.uniform(0.05, 0.16))  # weight of each neighbour
    for axis in (0, 1):
        edge = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        wide = np.pad(image, edge, mode="edge")
        before, after = (wide[:-2], wide[2:]) if axis == 0 else (wide[:, :-2], wide[:, 2:])
        image = image * (1 - 2 * side) + (before + after) * side
    across = np.linspace(-1, 1, size[0], dtype=F)[None, :]
    down = np.linspace(-1, 1, size[1], dtype=F)[:, None]
    vignette = 1 - F(rng.uniform(0.04, 0.16)) * (across * across + down * down) / 2
    cast = rng.uniform(0.95, 1.05, 3).astype(F)
    image = image * vignette[..., None] * cast * light.exposure
    # highlights bend towards white instead of clipping
    image = image * (1 + image * F(0.12)) / (1 + image * F(0.42))
    image = np.sqrt(np.maximum(image, F(0)) * F(1.32))
    grain = rng.standard_normal(image.shape, F) * F(rng.uniform(0.004, 0.018))
    return (clip01(image + grain) * F(255) + F(0.5)).astype(np.uint8)


def make(seed: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The picture [H, W, 3] and its label map [H, W] of a seed. The plan does not depend on `size`."""
    rng = np.random.Generator(np.random.PCG64(seed))
    noise, light, street = Noise(rng), Light(rng), Street(rng)
    camera = Camera(rng, street.road, size)
    canvas = Canvas(camera)
    shot = Shot(canvas, camera, light, noise, caster(street, light))
    draw_sky(shot)
    draw_ground(shot, street)
    for thing in street.rows[-1] + street.rows[1] + street.backdrop + street.cars + street.trees + street.people:
        thing.draw(shot)
    # a pixel's label is that of the ray nearest to its middle, towards the upper left
    middle = (SAMPLES - 1) // 2
    return develop(canvas, light, rng, size), canvas.label[middle::SAMPLES, middle::SAMPLES].copy()


def palette_image(labels: np.ndarray) -> Image.Image:
    """Class indices as a palette PNG: viewers show colours, readers get indices."""
    picture = Image.fromarray(labels)
    picture.putpalette([channel for rgb in PALETTE for channel in rgb])
    return picture


def write(job: tuple[int, int, Path, tuple[int, int]]) -> None:
    number, seed, out, size = job
    image, labels = make(seed, size)
    Image.fromarray(image).save(out / "images" / f"{number:04d}.png")
    palette_image(labels).save(out / "labels" / f"{number:04d}.png")


def write_set(out: Path, count: int, seed: int, size: tuple[int, int] = SIZE, workers: int = 2) -> None:
    """Scenes `seed`, `seed + 1`, ... as images/NNNN.png and labels/NNNN.png, and codes.txt."""
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / "codes.txt").write_text("\n".join(LABELS) + "\n")
    jobs = [(k, seed + k, out, size) for k in range(count)]
    with ProcessPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(write, jobs, chunksize=8), 1):
            if done % 100 == 0 or done == count:
                print(f"{out}: {done}/{count} scenes", flush=True)


def self_check() -> None:
    digest = hashlib.sha256()
    for seed in CHECK_SEEDS:
        image, labels = make(seed)
        again = make(seed)
        assert np.array_equal(image, again[0]) and np.array_equal(labels, again[1]), f"seed {seed} is not repeatable"
        assert image.shape == (SIZE[1], SIZE[0], 3) and image.dtype == np.uint8
        assert labels.shape == image.shape[:2] and labels.max() < len(LABELS)
        digest.update(image.tobytes() + labels.tobytes())
    found = digest.hexdigest()
    assert found == CHECK_DIGEST, f"sha256 of seeds {CHECK_SEEDS} is {found}, expected {CHECK_DIGEST}"
    print(f"ok: seeds {CHECK_SEEDS} repeat, labels lie within 0..{len(LABELS) - 1}, sha256 {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene; the next ones count up")
    parser.add_argument("--out", type=Path, default=Path("data/scenes"))
    parser.add_argument("--size", default=f"{SIZE[0]}x{SIZE[1]}", help="WIDTHxHEIGHT")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--self-check", action="store_true", help="check that a seed repeats its pixels, then leave")
    args = parser.parse_args()
    if args.self_check:
        return self_check()
    width, height = (int(n) for n in args.size.split("x"))
    write_set(args.out, args.count, args.seed, (width, height), args.workers)


if __name__ == "__main__":
    main()
