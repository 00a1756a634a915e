"""Street scenes with exact labels, made from a seed.

Each scene is a small world in metres (a street, boxes for buildings, convex solids for cars, balls of
leaves for trees, capsules for people), seen by one camera: the pixel that shows a thing and the pixel
that is labelled with it come from the same ray, so the labels are exact by construction. The arrays go
through plain arithmetic and square roots only, which every processor rounds alike; that is why a seed
stands for the same pixels on every machine.

This file knows nothing of networks. numpy and Pillow are all it needs.
"""

import argparse
import hashlib
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ["sky", "building", "road", "sidewalk", "car", "tree", "pedestrian"]
PALETTE = [(70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232), (0, 0, 142), (107, 142, 35), (220, 20, 60)]
SKY, BUILDING, ROAD, SIDEWALK, CAR, TREE, PEDESTRIAN = range(7)

SIZE = (256, 192)  # width, height
SAMPLES = 2  # rays along each side of a pixel: 4 rays make one pixel
NEAR, FAR = 0.8, 1e4
CHECK_SEEDS = (0, 1, 2)
CHECK_DIGEST = "a9f1f67f0234836e4e60189ee21119532a62778461bc2354244175be0cb21f80"

F = np.float32


def linear(rgb) -> np.ndarray:
    """Screen colour to light; the way back is the square root in `develop`."""
    c = np.asarray(rgb, F)
    return c * c


def clip01(a) -> np.ndarray:
    return np.clip(a, F(0), F(1))


def smooth(a) -> np.ndarray:
    a = clip01(a)
    return a * a * (3 - 2 * a)


def mix(a, b, w):
    """From `a` at w = 0 to `b` at w = 1; `w` lacks the colour axis."""
    w = np.asarray(w, F)[..., None]
    return a + (b - a) * w


def stripe(coordinate, period, width, footprint):
    """How much of a pixel a repeated line covers, so that far lines fade where they would flicker."""
    off = np.abs((coordinate / period + F(0.5)) % 1 - F(0.5)) * period
    reach = np.maximum(footprint, F(1e-3))
    return clip01((width / 2 - off) / reach + F(0.5)) * np.minimum(F(1), width / reach)


class Noise:
    """Value noise on a repeating 256 x 256 lattice, and one random number per integer cell."""

    def __init__(self, rng: np.random.Generator):
        self.table = rng.random((256, 256), F)

    def cell(self, i, j, salt: int = 0):
        return self.table[(j.astype(np.int32) + 37 * salt) & 255, (i.astype(np.int32) + 101 * salt) & 255]

    def at(self, x, y, salt: int = 0):
        x, y = np.broadcast_arrays(np.asarray(x, F), np.asarray(y, F))
        i, j = np.floor(x), np.floor(y)
        u, v = smooth(x - i), smooth(y - j)
        top = self.cell(i, j, salt) * (1 - u) + self.cell(i + 1, j, salt) * u
        low = self.cell(i, j + 1, salt) * (1 - u) + self.cell(i + 1, j + 1, salt) * u
        return top * (1 - v) + low * v


class Light:
    """Time of day: where the sun stands, what colours it and the sky have, how thick the air is."""

    def __init__(self, rng: np.random.Generator):
        kind = rng.choice(["noon", "morning", "golden", "overcast", "dusk"], p=[0.3, 0.22, 0.2, 0.18, 0.1])
        elevation = {"noon": 55, "morning": 34, "golden": 17, "overcast": 50, "dusk": 10}[kind] + rng.uniform(-6, 6)
        azimuth = math.radians(rng.uniform(-165, 165))
        rise = math.sin(math.radians(elevation))
        flat = math.cos(math.radians(elevation))
        self.sun = (flat * math.sin(azimuth), rise, flat * math.cos(azimuth))
        table = {  # zenith, horizon, sunlight, ambient, exposure
            "noon": ((0.26, 0.50, 0.86), (0.74, 0.86, 0.96), (1.0, 0.96, 0.88), (0.62, 0.70, 0.80), 1.05),
            "morning": ((0.34, 0.56, 0.85), (0.93, 0.88, 0.82), (1.0, 0.90, 0.74), (0.60, 0.66, 0.76), 1.08),
            "golden": ((0.38, 0.50, 0.74), (0.98, 0.80, 0.60), (1.0, 0.76, 0.48), (0.60, 0.60, 0.68), 1.12),
            "overcast": ((0.68, 0.72, 0.77), (0.84, 0.86, 0.88), (0.50, 0.50, 0.50), (0.84, 0.86, 0.88), 1.0),
            "dusk": ((0.20, 0.25, 0.47), (0.88, 0.58, 0.50), (0.62, 0.40, 0.32), (0.52, 0.50, 0.62), 1.1),
        }[kind]
        self.zenith, self.horizon, self.sunlight, self.ambient = (linear(c) for c in table[:4])
        self.exposure = F(table[4] * rng.uniform(0.9, 1.12))
        self.clouds = F(rng.uniform(0.75, 0.95) if kind == "overcast" else rng.uniform(0.0, 0.6))
        self.lit_windows = {"dusk": 0.4, "golden": 0.08}.get(kind, 0.02)
        self.haze = F(rng.uniform(0.0008, 0.0032))

    def shade(self, albedo, normal, shadow=F(0)):
        """Light leaving a surface; `normal` is a triple of numbers or arrays, `shadow` 1 where the sun is hidden."""
        facing = np.maximum(F(0), normal[0] * F(self.sun[0]) + normal[1] * F(self.sun[1]) + normal[2] * F(self.sun[2]))
        direct = np.asarray(facing * (1 - shadow) * F(1.75), F)[..., None]
        around = np.asarray(F(0.66) + F(0.20) * normal[1], F)[..., None]
        return albedo * (self.ambient * around + self.sunlight * direct)


class Camera:
    """A camera that looks along +z with upright verticals; pixels are rays (dx, dy, 1)."""

    def __init__(self, rng: np.random.Generator, road_half: float, size: tuple[int, int]):
        self.width, self.height = size[0] * SAMPLES, size[1] * SAMPLES
        self.x = F(rng.uniform(-0.85, 0.85) * road_half)
        self.y = F(rng.uniform(1.5, 2.5))
        self.focal = F(rng.uniform(0.72, 1.0) * self.width)
        # the street runs away from the nearer kerb, so the far end stays inside the picture
        self.cx = F((0.5 + rng.uniform(-0.14, 0.14) + 0.05 * self.x / road_half) * self.width)
        self.cy = F(rng.uniform(0.42, 0.54) * self.height)
        self.dx = ((np.arange(self.width, dtype=F) + F(0.5)) - self.cx) / self.focal
        self.dy = (self.cy - (np.arange(self.height, dtype=F) + F(0.5))) / self.focal

    def window(self, x0: float, x1: float, y0: float, y1: float, z0: float, z1: float) -> tuple[slice, slice]:
        """The pixels that a box in front of the camera can touch, as (rows, columns)."""
        u = [self.cx + self.focal * (x - self.x) / z for x in (x0, x1) for z in (z0, z1)]
        v = [self.cy - self.focal * (y - self.y) / z for y in (y0, y1) for z in (z0, z1)]
        rows = slice(max(0, int(min(v)) - 1), max(0, min(self.height, int(max(v)) + 2)))
        columns = slice(max(0, int(min(u)) - 1), max(0, min(self.width, int(max(u)) + 2)))
        return rows, columns


class Canvas:
    """Colour, label and depth of every ray; the nearest surface wins, in whatever order things are drawn."""

    def __init__(self, camera: Camera):
        shape = (camera.height, camera.width)
        self.rgb = np.zeros((*shape, 3), F)
        self.label = np.full(shape, SKY, np.uint8)
        self.depth = np.full(shape, FAR, F)

    def put(self, window, hit, depth, rgb, label: int) -> None:
        depth = np.broadcast_to(depth, hit.shape)
        hit = hit & (depth < self.depth[window]) & (depth > NEAR)
        self.rgb[window][hit] = np.broadcast_to(rgb, (*hit.shape, 3))[hit]
        self.label[window][hit] = label
        self.depth[window][hit] = depth[hit]


class Building:
    """A box along one kerb (side -1 or 1), or across the view (side 0) with `x` its left edge."""

    def __init__(self, rng, side: int, x: float, z0: float, z1: float, deep: float, height: float):
        self.side, self.x, self.z0, self.z1, self.deep, self.height = side, x, z0, z1, deep, height
        self.salt = int(rng.integers(1, 200))
        walls = [(0.66, 0.36, 0.28), (0.84, 0.74, 0.58), (0.80, 0.78, 0.74), (0.58, 0.45, 0.36), (0.90, 0.82, 0.66),
                 (0.62, 0.66, 0.70), (0.78, 0.56, 0.44), (0.86, 0.86, 0.82), (0.50, 0.34, 0.30), (0.72, 0.76, 0.66)]
        self.wall = linear(np.clip(np.array(walls[rng.integers(len(walls))]) + rng.uniform(-0.06, 0.06, 3), 0, 1))
        self.trim = linear(rng.uniform(0.75, 0.95)) * np.ones(3, F)
        self.awning = linear(rng.uniform(0.15, 0.8, 3))
        self.office = bool(height > 13 and rng.random() < 0.35)
        self.shop = bool(rng.random() < 0.6)
        self.floor = F(rng.uniform(2.9, 3.5))
        self.pitch = F(rng.uniform(1.7, 2.8))
        self.glass = (F(rng.uniform(0.18, 0.3)), F(rng.uniform(0.2, 0.3)), F(rng.uniform(0.78, 0.88)))
        # only low houses carry a pitched roof
        self.slope = F(rng.uniform(0.5, 0.9)) if side and height < 11 and rng.random() < 0.7 else F(0)
        self.roof = linear(np.array([0.52, 0.27, 0.20]) * rng.uniform(0.7, 1.25) if rng.random() < 0.6 else np.full(3, 0.33))

    def facade(self, along, y, noise: Noise, light: Light, footprint):
        """Albedo and glow of a wall at `along` metres from its start and `y` metres up."""
        ground = F(3.9 if self.shop else 0.7)
        wall = self.wall * (F(0.86) + F(0.28) * noise.at(along * F(0.7), y * F(0.7), self.salt))[..., None]
        wall = wall * (1 - F(0.35) * stripe(y, F(0.3), F(0.05), footprint) * clip01(1 - footprint * 12))[..., None]
        u, v = along / self.pitch, (y - ground) / self.floor
        i, j = np.floor(u), np.floor(v)
        u, v = u - i, v - j
        inset, low, high = (F(0.05), F(0.12), F(0.95)) if self.office else self.glass
        upper = (y > ground) & (y < self.height - F(0.8))
        frame = upper & (u > inset - F(0.06)) & (u < 1 - inset + F(0.06)) & (v > low - F(0.06)) & (v < high + F(0.04))
        pane = upper & (u > inset) & (u < 1 - inset) & (v > low) & (v < high)
        pane &= np.abs(u - F(0.5)) > F(0.02)
        rgb = np.where(frame[..., None], self.trim, wall)
        chance = noise.cell(i, j, self.salt)
        glass = mix(linear((0.13, 0.17, 0.22)), light.horizon * F(0.55), clip01(chance * F(0.6) + v * F(0.35)))
        curtain = pane & (chance > F(0.8)) & (v > F(0.5))
        rgb = np.where(pane[..., None], np.where(curtain[..., None], self.trim * F(0.7), glass), rgb)
        glow = pane & (noise.cell(i, j, self.salt + 3) < light.lit_windows)
        if self.shop:
            bay = along / F(4.2)
            k, bay = np.floor(bay), bay - np.floor(bay)
            window = (y > F(0.55)) & (y < F(2.7)) & (bay > F(0.08)) & (bay < F(0.7))
            door = (y < F(2.5)) & (bay > F(0.78)) & (bay < F(0.95))
            inside = mix(linear((0.16, 0.16, 0.18)), self.awning * F(0.5) + F(0.08), noise.at(along * 3, y * 2, self.salt))
            rgb = np.where(window[..., None], inside, rgb)
            rgb = np.where(door[..., None], self.awning * F(0.35), rgb)
            cloth = (y > F(2.75)) & (y < F(3.45))
            bars = (np.floor(along / F(0.45)) % 2 == 0) & (noise.cell(k, k, self.salt) > F(0.5))
            rgb = np.where(cloth[..., None], np.where(bars[..., None], self.trim, self.awning), rgb)
            glow |= window & (light.lit_windows > 0.3)
        edge = (y > self.height - F(0.55)) if not self.slope else (y > self.height - F(0.2))
        rgb = np.where(edge[..., None], self.trim * F(0.8), rgb)
        rgb = rgb * (F(0.72) + F(0.28) * clip01(y / 3))[..., None]
        return rgb.astype(F), glow


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
        while z < 130:
            long = rng.uniform(7, 18)
            if self.crossing and z < self.crossing + self.crossing_half + 1.5 and z + long > self.crossing - self.crossing_half - 1.5:
                long = self.crossing - self.crossing_half - 1.5 - z
                if long > 4:
                    row.append(self._building(rng, side, z, long, tall))
                z = self.crossing + self.crossing_half + 1.5
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

    def _cars(self, rng) -> list["Car"]:
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

    def _trees(self, rng) -> list["Tree"]:
        trees = []
        for side in (-1, 1):
            if rng.random() < 0.7:
                z, gap = rng.uniform(4, 13), rng.uniform(7, 12)
                while z < 90:
                    if self._free(z, 2) and rng.random() < 0.8:
                        trees.append(Tree(rng, side * (self.road + rng.uniform(0.7, 1.1)), z))
                    z += gap * rng.uniform(0.85, 1.15)
        return trees

    def _people(self, rng) -> list["Person"]:
        people = []
        for _ in range(rng.integers(2, 9)):
            z = rng.uniform(3.6, 10) if rng.random() < 0.7 else rng.uniform(10, 22)
            people.append(Person(rng, rng.choice((-1, 1)) * (self.road + rng.uniform(0.5, self.walk - 0.4)), z))
        if self.has_zebra and self.zebra > 3 and rng.random() < 0.65:
            for _ in range(rng.integers(1, 4)):
                people.append(Person(rng, rng.uniform(-0.9, 0.9) * self.road, self.zebra + rng.uniform(0.5, 2.5)))
        return people


class Car:
    """Two convex solids (body, cabin) on four wheels. `heading`: 1 away, -1 towards the camera, 0 across."""

    def __init__(self, rng, x: float, z: float, heading: int):
        self.x, self.z, self.heading = x, z, heading
        van = rng.random() < 0.16
        self.half = F(rng.uniform(0.84, 0.92) + 0.06 * van)
        self.long = F(rng.uniform(3.9, 4.6) + 0.3 * van)
        self.top = F(rng.uniform(1.42, 1.62) + 0.45 * van)
        self.waist = F(rng.uniform(0.84, 0.95))
        self.cabin = (F(-0.47 if van or rng.random() < 0.5 else -0.34), F(0.36 if van else 0.2))
        paints = [(0.75, 0.12, 0.12), (0.93, 0.93, 0.93), (0.12, 0.13, 0.15), (0.55, 0.58, 0.62), (0.13, 0.28, 0.58),
                  (0.86, 0.66, 0.15), (0.16, 0.40, 0.32), (0.70, 0.72, 0.74), (0.45, 0.12, 0.20), (0.35, 0.62, 0.75)]
        self.paint = linear(np.clip(np.array(paints[rng.integers(len(paints))]) + rng.uniform(-0.05, 0.05, 3), 0.03, 1))

    def extent(self) -> tuple[float, float]:
        """Half sizes along x and z of the world."""
        return (self.long / 2, self.half) if self.heading == 0 else (self.half, self.long / 2)

    def solids(self):
        """(planes, kind) of each solid; a plane is (nx, ny, nz, d) with n.p <= d inside."""
        a, b = self.half, self.long / 2
        body = [(1, 0, 0, a), (-1, 0, 0, a), (0, -1, 0, -0.24), (0, 1, 0, self.waist), (0, 0, 1, b), (0, 0, -1, b),
                (0, 1, 0.2, self.waist - 0.02 + 0.2 * (b - 0.75)), (0, 0.7, 1, b + 0.7 * 0.66), (0, 0.5, -1, b + 0.5 * 0.74),
                (0.8, 1, 0, 0.8 * a + self.waist - 0.1), (-0.8, 1, 0, 0.8 * a + self.waist - 0.1)]
        back, front = self.cabin[0] * self.long, self.cabin[1] * self.long
        base = self.waist - 0.02
        cabin = [(1, 0.28, 0, a - 0.03 + 0.28 * base), (-1, 0.28, 0, a - 0.03 + 0.28 * base), (0, -1, 0, -base + 0.1),
                 (0, 1, 0, self.top), (0, 0.95, 1, front + 0.95 * base), (0, 0.4, -1, -back + 0.4 * base)]
        yield body, "body"
        yield cabin, "cabin"
        rim = [(0, math.cos(k * math.pi / 6), math.sin(k * math.pi / 6)) for k in range(12)]
        for sx in (-1, 1):
            for wz in (-0.30, 0.31):
                wheel = [(ny * 0, ny, nz, 0.33 + ny * 0.33 + nz * wz * self.long) for _, ny, nz in rim]
                yield wheel + [(sx, 0, 0, a + 0.02), (-sx, 0, 0, -(a - 0.24))], "wheel"

    def draw(self, canvas: Canvas, camera: Camera, light: Light, shadow) -> None:
        ex, ez = self.extent()
        if self.z - ez < NEAR + 0.4:
            return
        window = camera.window(self.x - ex, self.x + ex, 0, self.top, self.z - ez, self.z + ez)
        dx, dy = np.broadcast_arrays(camera.dx[window[1]][None, :], camera.dy[window[0]][:, None])
        if dx.size == 0:
            return
        one = np.ones_like(dx)
        ox, oz = camera.x - F(self.x), -F(self.z)
        if self.heading == 0:  # the car's own z runs along the world's x
            origin, ray = (-oz, camera.y, ox), (-one, dy, dx)
        else:
            origin, ray = (ox * self.heading, camera.y, oz * self.heading), (dx * self.heading, dy, one * self.heading)
        in_shade = shadow(F(self.x), F(0.8), F(self.z))
        for planes, kind in self.solids():
            enter, leave, face = np.full(dx.shape, F(0)), np.full(dx.shape, F(FAR)), np.zeros(dx.shape, np.int8)
            for k, (nx, ny, nz, d) in enumerate(planes):
                along = F(nx) * ray[0] + F(ny) * ray[1] + F(nz) * ray[2]
                room = F(d) - (F(nx) * origin[0] + F(ny) * origin[1] + F(nz) * origin[2])
                t = room / np.where(np.abs(along) < 1e-9, F(1e-9), along)
                inward = along < 0
                later = inward & (t > enter)
                enter, face = np.where(later, t, enter), np.where(later, np.int8(k), face)
                leave = np.where(inward, leave, np.minimum(leave, t))
            hit = (enter < leave) & (enter > NEAR)
            if hit.any():
                rgb = self._surface(kind, planes, face, [o + r * enter for o, r in zip(origin, ray)], light, in_shade)
                canvas.put(window, hit, enter, rgb, CAR)

    def _surface(self, kind: str, planes, face, p, light: Light, in_shade):
        normals = np.array([n[:3] for n in planes], F)
        normals /= np.sqrt((normals * normals).sum(1, keepdims=True))
        local = [normals[:, k][face] for k in range(3)]
        if self.heading == 0:
            world = (local[2], local[1], -local[0])
        else:
            world = (local[0] * self.heading, local[1], local[2] * self.heading)
        if kind == "wheel":
            r2 = (p[1] - F(0.33)) ** 2 + (np.abs(p[2]) - F(0.305) * self.long) ** 2
            hub = (face >= 12) & (r2 < F(0.045))
            return light.shade(np.where(hub[..., None], linear((0.6,) * 3), linear((0.12,) * 3)), world, in_shade)
        # the sky mirrors in the paint where the surface looks up
        rgb = light.shade(self.paint, world, in_shade) + light.horizon * (F(0.04) + F(0.10) * clip01(world[1]))[..., None]
        if kind == "cabin":
            # glass is what lies well inside the edges of its face; what is left over are the pillars
            slack = np.full(face.shape, F(9))
            for k, (n, d) in enumerate(zip(normals, planes)):
                length = F(math.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2))
                gap = F(d[3]) / length - (n[0] * p[0] + n[1] * p[1] + n[2] * p[2])
                slack = np.where(face == k, slack, np.minimum(slack, gap))
            pane = (slack > F(0.075)) & (local[1] < F(0.9)) & (p[1] > self.waist + F(0.02))
            pane &= ~((np.abs(p[2] + F(0.1)) < F(0.06)) & (np.abs(local[0]) > F(0.5)))
            glass = linear((0.12, 0.15, 0.18)) + light.horizon * (F(0.10) + F(0.35) * clip01(local[1]))[..., None]
            return np.where(pane[..., None], glass, rgb)
        ends, sides = np.abs(local[2]) > F(0.7), np.abs(local[0]) > F(0.7)
        lamp = ends & (np.abs(p[0]) > self.half * F(0.58)) & (p[1] > F(0.56)) & (p[1] < F(0.74))
        lamp_rgb = np.where((local[2] > 0)[..., None], linear((0.95, 0.93, 0.82)), linear((0.75, 0.06, 0.05)))
        rgb = np.where(lamp[..., None], lamp_rgb, rgb)
        plate = ends & (np.abs(p[0]) < F(0.26)) & (p[1] > F(0.42)) & (p[1] < F(0.54))
        rgb = np.where(plate[..., None], linear((0.85, 0.85, 0.8)) * F(0.6), rgb)
        grille = ends & (local[2] > 0) & (np.abs(p[0]) < self.half * F(0.5)) & (p[1] > F(0.58)) & (p[1] < F(0.7))
        arch = sides & ((p[1] - F(0.33)) ** 2 + (np.abs(p[2]) - F(0.305) * self.long) ** 2 < F(0.15))
        dark = grille | arch | (p[1] < F(0.36))
        return np.where(dark[..., None], rgb * F(0.18), rgb)


class Tree:
    """A tapering trunk below a cluster of ragged balls of leaves."""

    def __init__(self, rng, x: float, z: float):
        self.x, self.z = x, z
        self.trunk = rng.uniform(2.2, 3.0)
        self.radius = rng.uniform(0.13, 0.22)
        size = rng.uniform(1.3, 2.2)
        autumn = rng.random() < 0.18
        leaf = rng.uniform((0.62, 0.40, 0.10), (0.80, 0.55, 0.18)) if autumn else rng.uniform((0.20, 0.38, 0.10), (0.36, 0.54, 0.20))
        self.leaf, self.bark = linear(leaf), linear(rng.uniform(0.8, 1.1) * np.array([0.36, 0.28, 0.21]))
        self.balls = [(x, self.trunk + size * 0.85, z, size)]
        for _ in range(rng.integers(5, 9)):
            angle = rng.uniform(0, 2 * math.pi)
            out = size * rng.uniform(0.45, 0.75)
            self.balls.append((x + out * math.cos(angle), self.trunk + size * rng.uniform(0.45, 1.6),
                               z + out * math.sin(angle), size * rng.uniform(0.5, 0.75)))
        self.size = size
        self.salt = int(rng.integers(0, 200))

    def draw(self, canvas: Canvas, camera: Camera, light: Light, noise: Noise, shadow) -> None:
        if self.z - self.size * 1.5 < NEAR + 0.6:
            return
        z = F(self.z)
        window = camera.window(self.x - 0.4, self.x + 0.4, 0, self.trunk + 0.8, self.z, self.z)
        x = (camera.x + camera.dx[window[1]] * z - F(self.x))[None, :]
        y = (camera.y + camera.dy[window[0]] * z)[:, None]
        radius = F(self.radius) * (1 + F(0.7) * clip01(F(0.35) - y))
        across = clip01(np.abs(x) / radius)
        side = np.where(x < 0, -across, across)
        bark = self.bark * (F(0.6) + F(0.8) * noise.at(x * 18, y * 3, self.salt))[..., None]
        hit = (np.abs(x) < radius) & (y > 0) & (y < self.trunk + 0.8)
        normal = (side, F(0), -np.sqrt(1 - across * across))
        canvas.put(window, hit, z, light.shade(bark, normal, shadow(F(self.x), F(1.5), z)), TREE)
        for bx, by, bz, r in self.balls:
            window = camera.window(bx - r * 1.2, bx + r * 1.2, by - r * 1.2, by + r * 1.2, bz, bz)
            x = ((camera.x + camera.dx[window[1]] * F(bz) - F(bx)) / F(r))[None, :]
            y = ((camera.y + camera.dy[window[0]] * F(bz) - F(by)) / F(r))[:, None]
            if x.size == 0 or y.size == 0:
                continue
            wx, wy = x * F(r) + F(bx), y * F(r) + F(by)
            ragged = noise.at(wx * F(2.6), wy * F(2.6), self.salt) * F(0.5) + noise.at(wx * 7, wy * 7, self.salt) * F(0.22)
            d2 = x * x + y * y
            reach = d2 / np.square(F(0.78) + ragged * F(0.55))
            bulge = np.sqrt(clip01(1 - reach))
            # the world's height in the crown darkens its underside
            rise = clip01((wy - F(self.trunk)) / F(2.0 * self.size))
            grain = noise.at(wx * 11, wy * 11, self.salt + 1) * F(0.5) + noise.at(wx * 5, wy * 5, self.salt + 2) * F(0.6)
            leaf = self.leaf * ((F(0.45) + grain) * (F(0.55) + F(0.55) * rise))[..., None]
            rgb = light.shade(leaf, (x, y, -bulge), shadow(F(bx), F(by), F(bz)))
            canvas.put(window, reach < 1, F(bz) - bulge * F(r) * F(0.5), rgb, TREE)


class Person:
    """A standing or walking figure of capsules, turned to the camera."""

    def __init__(self, rng, x: float, z: float):
        self.x, self.z = x, z
        self.scale = rng.uniform(0.92, 1.12)
        stride, swing = rng.uniform(0.04, 0.24), rng.uniform(0.02, 0.16)
        bulk = rng.uniform(1.0, 1.25)
        coat, legs = linear(rng.uniform(0.08, 0.92, 3)), linear(rng.uniform(0.08, 0.5) + rng.uniform(-0.06, 0.06, 3))
        skin = linear(np.array([0.90, 0.70, 0.56]) * rng.uniform(0.45, 1.05))
        hair = linear(np.array([0.32, 0.22, 0.14]) * rng.uniform(0.2, 2.0))
        hem = rng.uniform(0.55, 0.9)
        # from, to, radius at both ends, colour; later parts lie in front
        self.parts = [
            (-stride, 0.06, -0.07, 0.85, 0.085 * bulk, 0.115 * bulk, legs * F(0.75)),
            (stride, 0.06, 0.07, 0.85, 0.085 * bulk, 0.115 * bulk, legs),
            (-0.21 * bulk - swing, 0.86, -0.19 * bulk, 1.36, 0.06, 0.085, coat * F(0.7)),
            (0.0, hem, 0.0, 1.30, 0.20 * bulk, 0.215 * bulk, coat),
            (0.21 * bulk + swing, 0.86, 0.19 * bulk, 1.36, 0.06, 0.085, coat * F(0.85)),
            (0.0, 1.45, 0.0, 1.52, 0.07, 0.07, skin),
            (0.0, 1.63, 0.0, 1.66, 0.135, 0.14, hair),
            (0.02, 1.60, 0.02, 1.63, 0.11, 0.115, skin),
        ]

    def draw(self, canvas: Canvas, camera: Camera, light: Light, shadow) -> None:
        s = self.scale
        window = camera.window(self.x - 0.8, self.x + 0.8, 0, 1.9 * s, self.z, self.z)
        z = F(self.z)
        x = ((camera.x + camera.dx[window[1]] * z - F(self.x)) / F(s))[None, :]
        y = ((camera.y + camera.dy[window[0]] * z) / F(s))[:, None]
        if x.size == 0 or y.size == 0:
            return
        in_shade = shadow(F(self.x), F(1), z)
        for k, (ax, ay, bx, by, ra, rb, colour) in enumerate(self.parts):
            ux, uy = F(bx - ax), F(by - ay)
            h = clip01(((x - F(ax)) * ux + (y - F(ay)) * uy) / F(ux * ux + uy * uy))
            px, py, r = x - F(ax) - h * ux, y - F(ay) - h * uy, F(ra) + h * F(rb - ra)
            d2 = (px * px + py * py) / (r * r)
            rgb = light.shade(colour, (px / r, py / r, -np.sqrt(clip01(1 - d2))), in_shade)
            canvas.put(window, d2 < 1, z - F(0.01) * F(k), rgb, PEDESTRIAN)


def draw_sky(canvas: Canvas, camera: Camera, light: Light, noise: Noise) -> None:
    dx, dy = np.broadcast_arrays(camera.dx[None, :], np.maximum(camera.dy, F(0))[:, None])
    length = np.sqrt(1 + dx * dx + dy * dy)
    up = dy / length
    rgb = mix(light.horizon, light.zenith, smooth(up / F(0.45)))
    facing = (dx * F(light.sun[0]) + dy * F(light.sun[1]) + F(light.sun[2])) / length
    rgb = rgb + light.sunlight * (F(0.7) / (1 + (1 - facing) * F(30)))[..., None] * (1 - light.clouds)
    cx, cz = dx / (dy + F(0.12)), 1 / (dy + F(0.12))
    cloud = sum(noise.at(cx * F(f), cz * F(f) * F(0.8), 7) * F(w) for f, w in ((0.9, 0.5), (2.1, 0.28), (4.7, 0.15), (9.5, 0.07)))
    cover = smooth((cloud - (F(0.74) - F(0.5) * light.clouds)) * F(4.5)) * clip01(up * 9)
    white = light.sunlight * F(0.55) + light.ambient * F(0.45)
    canvas.rgb[:] = mix(rgb, white * (F(0.82) + F(0.3) * cloud)[..., None], cover * F(0.85))


def draw_ground(canvas: Canvas, camera: Camera, light: Light, noise: Noise, street: Street, shadow) -> None:
    first = int(np.searchsorted(-camera.dy, F(0.004)))
    rows = slice(first, camera.height)
    z = (camera.y / -camera.dy[rows])[:, None]
    dx = np.broadcast_to(camera.dx[None, :], (z.shape[0], camera.width))
    x = camera.x + dx * z
    z = np.broadcast_to(z, x.shape)
    wide, deep = z / camera.focal, z * z / (camera.y * camera.focal)
    road_half, off = F(street.road), np.abs(x)
    road = off < road_half
    if street.crossing:
        road = road | (np.abs(z - F(street.crossing)) < F(street.crossing_half))
    grain = noise.at(x * 6, z * 6) * F(0.22) + noise.at(x * F(0.8), z * F(0.35), 1) * F(0.28) + F(0.74)
    tar = street.asphalt * (grain - F(0.12) * stripe(off - road_half * F(0.5), F(1.6), F(0.5), wide) * road)[..., None]
    paint = stripe(x, F(1e3), F(0.14), wide) * (z % 6 < 3)
    paint = np.maximum(paint, stripe(off - (road_half - F(2.25)), F(1e3), F(0.10), wide))
    inner = off < road_half - F(0.2)
    if street.crossing:
        inner = inner & (np.abs(z - F(street.crossing)) > F(street.crossing_half))
    paint = paint * inner
    if street.has_zebra:
        band = (z > F(street.zebra)) & (z < F(street.zebra + 3)) & inner
        paint = np.where(band, (x / F(1.0)) % 1 < F(0.5), paint)
    tar = mix(tar, linear((0.86, 0.86, 0.82)), paint * (F(0.6) + F(0.35) * noise.at(x * 5, z * 5, 2)))
    slab = noise.cell(np.floor(x / street.slab), np.floor(z / street.slab), 3)
    pave = street.paving * (F(0.84) + F(0.16) * slab + F(0.25) * (grain - 1))[..., None]
    seams = np.maximum(stripe(x, street.slab, F(0.04), wide), stripe(z, street.slab, F(0.04), deep))
    pave = pave * (1 - F(0.35) * seams)[..., None]
    kerb = ~road & (off < road_half + F(0.2))
    pave = np.where(kerb[..., None], street.paving * F(1.12), pave)
    gutter = stripe(off - (road_half - F(0.06)), F(1e3), F(0.12), wide) * road
    albedo = np.where(road[..., None], tar * (1 - F(0.45) * gutter)[..., None], pave)

    hidden = shadow(x, np.zeros_like(x), z).astype(F)
    contact = np.zeros_like(x)
    sx, sy, sz = (F(v) for v in light.sun)
    lean_x, lean_z = -sx / np.maximum(sy, F(0.15)), -sz / np.maximum(sy, F(0.15))

    def blob(cx: float, cz: float, rx: float, rz: float):
        return ((x - F(cx)) / F(rx)) ** 2 + ((z - F(cz)) / F(rz)) ** 2

    for car in street.cars:
        ex, ez = car.extent()
        contact = np.maximum(contact, clip01(F(2.6) - F(2.2) * blob(car.x, car.z, ex * 1.25, ez * 1.2)))
        hidden = np.maximum(hidden, clip01(4 - 4 * blob(car.x + lean_x * 0.6, car.z + lean_z * 0.6, ex * 1.3, ez * 1.1)))
    for person in street.people:
        contact = np.maximum(contact, clip01(1 - blob(person.x, person.z, 0.35, 0.35)))
        hidden = np.maximum(hidden, clip01(4 - 4 * blob(person.x + lean_x * 0.8, person.z + lean_z * 0.8, 0.25 + 0.6 * abs(lean_x), 0.25 + 0.6 * abs(lean_z))))
    dapple = noise.at(x * F(1.7), z * F(1.7), 5) * F(0.8)
    for tree in street.trees:
        up = tree.trunk + tree.size
        leaves = 1 - blob(tree.x + lean_x * up, tree.z + lean_z * up, tree.size * 1.3, tree.size * 1.3)
        hidden = np.maximum(hidden, clip01((leaves + F(0.75) - dapple) * 3) * (leaves > F(-0.6)))
    rgb = light.shade(albedo, (F(0), F(1), F(0)), hidden) * (1 - F(0.72) * contact)[..., None]
    canvas.rgb[rows] = rgb
    canvas.label[rows] = np.where(road, ROAD, SIDEWALK)
    canvas.depth[rows] = z


def draw_building(b: Building, canvas: Canvas, camera: Camera, light: Light, noise: Noise, shadow) -> None:
    side, eave = b.side, F(b.height)
    front_to = b.x + (side or 1) * b.deep
    if b.z0 > NEAR:  # the wall that looks at the camera
        ridge = b.height + float(b.slope) * b.deep / 2
        window = camera.window(b.x, front_to, 0, ridge, b.z0, b.z0)
        z = F(b.z0)
        x, y = np.broadcast_arrays((camera.x + camera.dx[window[1]] * z)[None, :], (camera.y + camera.dy[window[0]] * z)[:, None])
        if x.size:
            left, right = F(min(b.x, front_to)), F(max(b.x, front_to))
            top = eave + b.slope * np.minimum(x - left, right - x)
            hit = (x > left) & (x < right) & (y > 0) & (y < top)
            paint_wall(b, canvas, window, hit, z, x - left, y, (F(0), F(0), F(-1)), x, z, camera, light, noise, shadow)
    if not side:
        return
    near = max(b.z0, NEAR)
    window = camera.window(b.x, b.x, 0, b.height, near, b.z1) if b.z1 > NEAR else (slice(0, 0), slice(0, 0))
    dx, dy = np.broadcast_arrays(camera.dx[window[1]][None, :], camera.dy[window[0]][:, None])
    if dx.size:  # the wall along the pavement
        z = (F(b.x) - camera.x) / np.where(dx * side > F(1e-5), dx, F(side * 1e-5))
        y = camera.y + dy * z
        hit = (z > F(near)) & (z < F(b.z1)) & (y > 0) & (y < eave)
        paint_wall(b, canvas, window, hit, z, z - F(b.z0), y, (F(-side), F(0), F(0)), F(b.x), z, camera, light, noise, shadow)
    if b.slope and b.z1 > NEAR:
        middle = b.x + side * b.deep / 2
        window = camera.window(b.x, middle, b.height, b.height + float(b.slope) * b.deep / 2, near, b.z1)
        dx, dy = np.broadcast_arrays(camera.dx[window[1]][None, :], camera.dy[window[0]][:, None])
        if dx.size == 0:
            return
        tilt = b.slope * side
        fall = dy - tilt * dx
        z = (eave - camera.y + tilt * (camera.x - F(b.x))) / np.where(np.abs(fall) < F(1e-6), F(1e-6), fall)
        reach = (camera.x + dx * z - F(b.x)) * side
        hit = (z > F(near)) & (z < F(b.z1)) & (reach > F(-0.3)) & (reach < F(b.deep / 2))
        rows = stripe(reach, F(0.4), F(0.1), z / camera.focal * 2)
        tiles = b.roof * (F(0.85) + F(0.3) * noise.at(z * 3, reach * 3, b.salt) - F(0.3) * rows)[..., None]
        length = F(math.sqrt(1 + float(b.slope) ** 2))
        canvas.put(window, hit, z, light.shade(tiles, (F(-side) * b.slope / length, 1 / length, F(0))), BUILDING)


def paint_wall(b, canvas, window, hit, depth, along, y, normal, x, z, camera, light, noise, shadow) -> None:
    """Colour the rays in `hit` only: most of a wall's window lies off the wall when it runs far away."""
    hit = hit & (np.broadcast_to(depth, hit.shape) < canvas.depth[window])
    if not hit.any():
        return
    along, y, x, z = (np.broadcast_to(a, hit.shape)[hit] for a in (along, y, x, z))
    albedo, glow = b.facade(along, y, noise, light, z / camera.focal)
    lit = light.shade(albedo, normal, shadow(x, y, z, b.side))
    rgb = np.zeros((*hit.shape, 3), F)
    rgb[hit] = np.where(glow[..., None], linear((1.0, 0.83, 0.52)) * F(0.9), lit)
    canvas.put(window, hit, depth, rgb, BUILDING)


def caster(street: Street, light: Light):
    """A function that tells where the row of buildings on the sun's side hides the sun."""
    side = 1 if light.sun[0] > 0 else -1
    row = street.rows[side]
    starts, ends, heights = (np.array([getattr(b, k) for b in row], F) for k in ("z0", "z1", "height"))
    plane = F(side * (street.road + street.walk))
    sx, sy, sz = (F(v) for v in light.sun)
    slant = sx if abs(sx) > 1e-3 else F(side * 1e-3)

    def shadow(x, y, z, wall: int | None = None):
        if wall == side:
            return np.zeros(np.shape(x), F)  # a wall of that row turns its back to the sun anyway
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
    shadow = caster(street, light)
    draw_sky(canvas, camera, light, noise)
    draw_ground(canvas, camera, light, noise, street, shadow)
    for building in street.rows[-1] + street.rows[1] + street.backdrop:
        draw_building(building, canvas, camera, light, noise, shadow)
    for car in street.cars:
        car.draw(canvas, camera, light, shadow)
    for tree in street.trees:
        tree.draw(canvas, camera, light, noise, shadow)
    for person in street.people:
        person.draw(canvas, camera, light, shadow)
    # a pixel's label is that of the ray nearest to its middle, towards the upper left
    middle = (SAMPLES - 1) // 2
    return develop(canvas, light, rng, size), canvas.label[middle::SAMPLES, middle::SAMPLES].copy()


def palette_image(labels: np.ndarray) -> Image.Image:
    """Class indices as a palette PNG: viewers show colours, readers get indices."""
    picture = Image.fromarray(labels, "L")
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
