"""What a street scene is made of: light, a camera, and the things that it can see.

A thing draws itself by meeting the camera's rays: buildings are boxes, cars convex solids, trees balls of
leaves, people capsules. Where a thing stands is not decided here but in scenes.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SKY, BUILDING, ROAD, SIDEWALK, CAR, TREE, PEDESTRIAN = range(7)

SAMPLES = 2  # rays along each side of a pixel: 4 rays make one pixel
NEAR, FAR = 0.8, 1e4

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

    def rays(self, window) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.broadcast_arrays(self.dx[window[1]][None, :], self.dy[window[0]][:, None]))

    def plane(self, window, z) -> tuple[np.ndarray, np.ndarray]:
        """World x (a row) and y (a column) where the window's rays reach depth `z`."""
        return (self.x + self.dx[window[1]] * z)[None, :], (self.y + self.dy[window[0]] * z)[:, None]


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


@dataclass
class Shot:
    """What a thing needs to draw itself. `shadow(x, y, z)` is 1 where buildings hide the sun."""

    canvas: Canvas
    camera: Camera
    light: Light
    noise: Noise
    shadow: Callable


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
        self.ridge = height + float(self.slope) * deep / 2
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

    def draw(self, shot: Shot) -> None:
        self._draw_front(shot)
        if self.side and self.z1 > NEAR:
            self._draw_side(shot)
            if self.slope:
                self._draw_roof(shot)

    def _draw_front(self, shot: Shot) -> None:
        """The wall that looks at the camera, with its gable."""
        if self.z0 <= NEAR:
            return
        camera, z = shot.camera, F(self.z0)
        front_to = self.x + (self.side or 1) * self.deep
        left, right = F(min(self.x, front_to)), F(max(self.x, front_to))
        window = camera.window(left, right, 0, self.ridge, self.z0, self.z0)
        x, y = np.broadcast_arrays(*camera.plane(window, z))
        top = F(self.height) + self.slope * np.minimum(x - left, right - x)
        hit = (x > left) & (x < right) & (y > 0) & (y < top)
        self._paint_wall(shot, window, hit, (x, y, z), x - left)

    def _draw_side(self, shot: Shot) -> None:
        """The wall along the pavement."""
        camera, near = shot.camera, max(self.z0, NEAR)
        window = camera.window(self.x, self.x, 0, self.height, near, self.z1)
        dx, dy = camera.rays(window)
        z = (F(self.x) - camera.x) / np.where(dx * self.side > F(1e-5), dx, F(self.side * 1e-5))
        y = camera.y + dy * z
        hit = (z > F(near)) & (z < F(self.z1)) & (y > 0) & (y < F(self.height))
        self._paint_wall(shot, window, hit, (F(self.x), y, z), z - F(self.z0))

    def _draw_roof(self, shot: Shot) -> None:
        """The half of a pitched roof that slopes to the street."""
        camera, light, near = shot.camera, shot.light, max(self.z0, NEAR)
        window = camera.window(self.x, self.x + self.side * self.deep / 2, self.height, self.ridge, near, self.z1)
        dx, dy = camera.rays(window)
        tilt = self.slope * self.side
        fall = dy - tilt * dx
        rise = F(self.height) - camera.y + tilt * (camera.x - F(self.x))
        z = rise / np.where(np.abs(fall) < F(1e-6), F(1e-6), fall)
        reach = (camera.x + dx * z - F(self.x)) * self.side
        hit = (z > F(near)) & (z < F(self.z1)) & (reach > F(-0.3)) & (reach < F(self.deep / 2))
        rows = stripe(reach, F(0.4), F(0.1), z / camera.focal * 2)
        tiles = self.roof * (F(0.85) + F(0.3) * shot.noise.at(z * 3, reach * 3, self.salt) - F(0.3) * rows)[..., None]
        length = F(math.sqrt(1 + float(self.slope) ** 2))
        normal = (F(-self.side) * self.slope / length, 1 / length, F(0))
        shot.canvas.put(window, hit, z, light.shade(tiles, normal), BUILDING)

    def _paint_wall(self, shot: Shot, window, hit, point, along) -> None:
        """Colour the rays in `hit` only: most of a wall's window lies off the wall when it runs far away."""
        depth = np.broadcast_to(point[2], hit.shape)
        hit = hit & (depth < shot.canvas.depth[window])
        if not hit.any():
            return
        x, y, z, along = (np.broadcast_to(a, hit.shape)[hit] for a in (*point, along))
        albedo, glow = self.facade(along, y, shot.noise, shot.light, z / shot.camera.focal)
        if np.ndim(point[2]) == 0:  # at one depth, so it faces the camera
            lit = shot.light.shade(albedo, (F(0), F(0), F(-1)), shot.shadow(x, y, z))
        else:
            lit = shot.light.shade(albedo, (F(-self.side), F(0), F(0)), shot.shadow(x, y, z))
        rgb = np.zeros((*hit.shape, 3), F)
        rgb[hit] = np.where(glow[..., None], linear((1.0, 0.83, 0.52)) * F(0.9), lit)
        shot.canvas.put(window, hit, depth, rgb, BUILDING)


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

    def draw(self, shot: Shot) -> None:
        camera, (ex, ez) = shot.camera, self.extent()
        if self.z - ez < NEAR + 0.4:
            return
        window = camera.window(self.x - ex, self.x + ex, 0, self.top, self.z - ez, self.z + ez)
        dx, dy = camera.rays(window)
        if dx.size == 0:
            return
        one = np.ones_like(dx)
        ox, oz = camera.x - F(self.x), -F(self.z)
        if self.heading == 0:  # the car's own z runs along the world's x
            origin, ray = (-oz, camera.y, ox), (-one, dy, dx)
        else:
            origin, ray = (ox * self.heading, camera.y, oz * self.heading), (dx * self.heading, dy, one * self.heading)
        in_shade = shot.shadow(F(self.x), F(0.8), F(self.z))
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
                rgb = self._surface(kind, planes, face, [o + r * enter for o, r in zip(origin, ray)], shot.light, in_shade)
                shot.canvas.put(window, hit, enter, rgb, CAR)

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
        least, most = ((0.62, 0.40, 0.10), (0.80, 0.55, 0.18)) if autumn else ((0.20, 0.38, 0.10), (0.36, 0.54, 0.20))
        leaf = rng.uniform(least, most)
        self.leaf, self.bark = linear(leaf), linear(rng.uniform(0.8, 1.1) * np.array([0.36, 0.28, 0.21]))
        self.balls = [(x, self.trunk + size * 0.85, z, size)]
        for _ in range(rng.integers(5, 9)):
            angle = rng.uniform(0, 2 * math.pi)
            out = size * rng.uniform(0.45, 0.75)
            self.balls.append((x + out * math.cos(angle), self.trunk + size * rng.uniform(0.45, 1.6),
                               z + out * math.sin(angle), size * rng.uniform(0.5, 0.75)))
        self.size = size
        self.salt = int(rng.integers(0, 200))

    def draw(self, shot: Shot) -> None:
        camera, light, noise = shot.camera, shot.light, shot.noise
        if self.z - self.size * 1.5 < NEAR + 0.6:
            return
        z = F(self.z)
        window = camera.window(self.x - 0.4, self.x + 0.4, 0, self.trunk + 0.8, self.z, self.z)
        x, y = camera.plane(window, z)
        x = x - F(self.x)
        radius = F(self.radius) * (1 + F(0.7) * clip01(F(0.35) - y))
        across = clip01(np.abs(x) / radius)
        side = np.where(x < 0, -across, across)
        bark = self.bark * (F(0.6) + F(0.8) * noise.at(x * 18, y * 3, self.salt))[..., None]
        hit = (np.abs(x) < radius) & (y > 0) & (y < self.trunk + 0.8)
        normal = (side, F(0), -np.sqrt(1 - across * across))
        shot.canvas.put(window, hit, z, light.shade(bark, normal, shot.shadow(F(self.x), F(1.5), z)), TREE)
        for bx, by, bz, r in self.balls:
            window = camera.window(bx - r * 1.2, bx + r * 1.2, by - r * 1.2, by + r * 1.2, bz, bz)
            wx, wy = camera.plane(window, F(bz))
            if wx.size == 0 or wy.size == 0:
                continue
            x, y = (wx - F(bx)) / F(r), (wy - F(by)) / F(r)
            ragged = noise.at(wx * F(2.6), wy * F(2.6), self.salt) * F(0.5) + noise.at(wx * 7, wy * 7, self.salt) * F(0.22)
            d2 = x * x + y * y
            reach = d2 / np.square(F(0.78) + ragged * F(0.55))
            bulge = np.sqrt(clip01(1 - reach))
            # the world's height in the crown darkens its underside
            rise = clip01((wy - F(self.trunk)) / F(2.0 * self.size))
            grain = noise.at(wx * 11, wy * 11, self.salt + 1) * F(0.5) + noise.at(wx * 5, wy * 5, self.salt + 2) * F(0.6)
            leaf = self.leaf * ((F(0.45) + grain) * (F(0.55) + F(0.55) * rise))[..., None]
            rgb = light.shade(leaf, (x, y, -bulge), shot.shadow(F(bx), F(by), F(bz)))
            shot.canvas.put(window, reach < 1, F(bz) - bulge * F(r) * F(0.5), rgb, TREE)


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

    def draw(self, shot: Shot) -> None:
        s, z = self.scale, F(self.z)
        window = shot.camera.window(self.x - 0.8, self.x + 0.8, 0, 1.9 * s, self.z, self.z)
        x, y = shot.camera.plane(window, z)
        if x.size == 0 or y.size == 0:
            return
        x, y = (x - F(self.x)) / F(s), y / F(s)
        in_shade = shot.shadow(F(self.x), F(1), z)
        for k, (ax, ay, bx, by, ra, rb, colour) in enumerate(self.parts):
            ux, uy = F(bx - ax), F(by - ay)
            h = clip01(((x - F(ax)) * ux + (y - F(ay)) * uy) / F(ux * ux + uy * uy))
            px, py, r = x - F(ax) - h * ux, y - F(ay) - h * uy, F(ra) + h * F(rb - ra)
            d2 = (px * px + py * py) / (r * r)
            rgb = shot.light.shade(colour, (px / r, py / r, -np.sqrt(clip01(1 - d2))), in_shade)
            shot.canvas.put(window, d2 < 1, z - F(0.01) * F(k), rgb, PEDESTRIAN)
