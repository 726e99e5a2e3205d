"""The geometry of `shapes3d_render`: what every pixel shows, found by casting rays.

The room is the square |x|, |y| ≤ R with the floor z = 0 and walls up to z = H, open to the sky; the object stands on the middle of the
floor. The camera stands in the room at D (sin φ, -cos φ) and the height C and looks at the height A above the middle. A ray is
o + t d with t > 0. The room is seen from inside, and its nearest wall tells what is behind it: the floor where the ray is below 0 there,
the sky where it is above H. A convex object is an intersection of solids, each of which the ray is inside from t_in to t_out: it meets the
object at the largest t_in if that is below the smallest t_out.

Shading is ambient light, and a lamp at P by Lambert's law: a + b max(0, n · (P - x) / |P - x|), n the surface's normal at x.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["SIDE", "weights"]

SIDE = 64
RAYS = 3  # a side of a pixel
ROOM, WALL = 3.6, 2.0  # R, H
DISTANCE, CAMERA, AIM = 3.3, 1.7, 1.0  # D, C, A
FOCAL = 1.0  # half the image's side is this tangent
LAMP = (0.9, -1.6, 5.0)  # P
AMBIENT, DIFFUSE = 0.55, 0.47  # a, b


class Solid(NamedTuple):
    """Where rays enter and leave a solid, with shape (N,), and its outward normal where they enter, with shape (N, 3)."""

    enter: Tensor
    leave: Tensor
    normal: Tensor


def weights(shape: str, scale: float, orientations: list[float]) -> Tensor:
    """Weights of floor, wall, object and sky in all pixels: uint8 with shape (orientations, 4, 64, 64), 255 for one.

    Arguments:
        shape: cube, cylinder, sphere or capsule.
        scale: length over that of the medium object.
        orientations: angles φ of the camera, in radians.
    """
    return torch.stack([_weights(shape, scale, angle) for angle in orientations])


def _weights(shape: str, scale: float, angle: float) -> Tensor:
    origin, directions = _camera(angle)
    distance, normal, label = _room(origin, directions)
    met = _object(shape, scale, origin, directions)
    seen = (met.enter < met.leave) & (met.leave > 0)
    label = torch.where(seen, 2, label)
    distance = torch.where(seen, met.enter, distance)
    normal = torch.where(seen[:, None], met.normal, normal)
    light = torch.where(label == 3, 1.0, _shading(origin + distance[:, None] * directions, normal))
    parts = torch.stack([light * (label == each) for each in range(4)])
    pixels = parts.unflatten(1, (SIDE, RAYS, SIDE, RAYS)).mean(dim=(2, 4))
    return torch.round(255 * pixels).to(torch.uint8)


def _camera(angle: float) -> tuple[Tensor, Tensor]:
    """The rays' origin (3,) and directions (N, 3), row by row from the top left."""
    sine, cosine = math.sin(angle), math.cos(angle)
    length = math.hypot(DISTANCE, CAMERA - AIM)
    down, ahead = (AIM - CAMERA) / length, DISTANCE / length
    forward = torch.tensor([-sine * ahead, cosine * ahead, down], dtype=torch.float64)
    right = torch.tensor([cosine, sine, 0], dtype=torch.float64)
    up = torch.linalg.cross(right, forward)
    steps = (torch.arange(SIDE * RAYS, dtype=torch.float64) + 0.5) / (SIDE * RAYS) * 2 - 1
    rows, columns = torch.meshgrid(-steps, steps, indexing="ij")
    directions = forward + FOCAL * (columns.reshape(-1, 1) * right + rows.reshape(-1, 1) * up)
    return torch.tensor([DISTANCE * sine, -DISTANCE * cosine, CAMERA], dtype=torch.float64), directions


def _room(origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance t, normal and label (0 floor, 1 wall, 3 sky) of what rays from inside the room meet."""
    walls = (ROOM * directions[:, :2].sign() - origin[:2]) / directions[:, :2]
    distance, axis = walls.min(dim=1)
    height = origin[2] + distance * directions[:, 2]
    inward = -directions.sign() * torch.nn.functional.one_hot(axis, 3)
    floor = height < 0
    label = torch.where(floor, 0, torch.where(height <= WALL, 1, 3))
    distance = torch.where(floor, -origin[2] / directions[:, 2], distance)
    return distance, torch.where(floor[:, None], inward.new_tensor([0, 0, 1]), inward), label


def _object(shape: str, scale: float, origin: Tensor, directions: Tensor) -> Solid:
    if shape == "cube":
        half = 0.62 * scale
        sides = [_slab(origin, directions, axis, -half, half) for axis in (0, 1)]
        return _common(*sides, _slab(origin, directions, 2, 0, 2 * half))
    if shape == "cylinder":
        return _common(_tube(origin, directions, 0.62 * scale), _slab(origin, directions, 2, 0, 1.3 * scale))
    if shape == "sphere":
        return _ball(origin, directions, 0.75 * scale, 0.75 * scale)
    radius, height = 0.52 * scale, 1.8 * scale
    middle = _common(_tube(origin, directions, radius), _slab(origin, directions, 2, radius, height - radius))
    return _nearest(middle, *(_ball(origin, directions, radius, z) for z in (radius, height - radius)))


def _slab(origin: Tensor, directions: Tensor, axis: int, low: float, high: float) -> Solid:
    first, second = ((bound - origin[axis]) / directions[:, axis] for bound in (low, high))
    normal = torch.zeros_like(directions)
    normal[:, axis] = -directions[:, axis].sign()
    return Solid(torch.minimum(first, second), torch.maximum(first, second), normal)


def _tube(origin: Tensor, directions: Tensor, radius: float) -> Solid:
    """The endless upright cylinder."""
    flat = origin.new_tensor([1, 1, 0])
    return _round(origin * flat, directions * flat, radius)


def _ball(origin: Tensor, directions: Tensor, radius: float, height: float) -> Solid:
    return _round(origin - origin.new_tensor([0, 0, height]), directions, radius)


def _round(start: Tensor, directions: Tensor, radius: float) -> Solid:
    """Where |start + t directions| is less than the radius; a ray that misses never enters."""
    square = (directions**2).sum(dim=1)
    middle = -(directions @ start) / square
    half = (middle**2 - ((start**2).sum() - radius**2) / square).sqrt()  # not a number where the ray misses
    enter, leave = middle - half, middle + half
    missed = half.isnan()
    normal = (start + enter[:, None] * directions) / radius
    return Solid(enter.masked_fill(missed, math.inf), leave.masked_fill(missed, -math.inf), normal)


def _common(*solids: Solid) -> Solid:
    """The intersection."""
    enter, last = torch.stack([solid.enter for solid in solids]).max(dim=0)
    leave = torch.stack([solid.leave for solid in solids]).amin(dim=0)
    normals = torch.stack([solid.normal for solid in solids])
    return Solid(enter, leave, normals[last, torch.arange(len(last))])


def _nearest(*solids: Solid) -> Solid:
    """What is met first of several solids."""
    enters = torch.stack([torch.where(solid.enter < solid.leave, solid.enter, math.inf) for solid in solids])
    enter, first = enters.min(dim=0)
    chosen = torch.arange(len(first))
    return Solid(enter, torch.stack([solid.leave for solid in solids])[first, chosen], torch.stack([s.normal for s in solids])[first, chosen])


def _shading(points: Tensor, normal: Tensor) -> Tensor:
    """With shape (N,), from the ambient light up to 1."""
    towards = points.new_tensor(LAMP) - points
    cosine = (towards * normal).sum(dim=1) / towards.norm(dim=1)
    return (AMBIENT + DIFFUSE * cosine.clamp(min=0)).clamp(max=1)
