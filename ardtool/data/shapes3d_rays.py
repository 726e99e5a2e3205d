"""The geometry of `shapes3d_render`: what every pixel shows, found by casting rays.

The room is the square |x|, |y| ≤ R with the floor z = 0 and walls up to z = H, open to the sky; the object stands on the middle of the
floor. The camera stands in the room at D (sin φ, -cos φ) and the height C and looks at the height A above the middle. A ray is
o + t d with t > 0. The room is seen from inside, and its nearest wall tells what is behind it: the floor where the ray is below 0 there,
the sky where it is above H. A convex object is an intersection of solids, each of which the ray is inside from t_in to t_out: it meets the
object at the largest t_in if that is below the smallest t_out.

Shading is ambient light, and a lamp at P by Lambert's law, up to 1: a + b max(0, n · (P - x) / |P - x|), n the surface's normal at x.

Lengths have no unit; N rays; points and directions have the shape (3, N).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["weights"]

SIDE = 64
RAYS = 3  # a side of a pixel
ROOM, WALL = 3.6, 2.05  # R, H
DISTANCE, CAMERA, AIM = 3.3, 1.5, 0.9  # D, C, A
VIEW = 0.55  # the tangent of half the angle of view
LAMP = (0.9, -2.6, 4.5)  # P
AMBIENT, DIFFUSE = 0.6, 0.45  # a, b


class Solid(NamedTuple):
    """Where rays enter and leave a solid, with shape (N,), and its outward normal where they enter, with shape (3, N)."""

    enter: Tensor
    leave: Tensor
    normal: Tensor


def weights(scales: Sequence[float], shapes: Sequence[str], orientations: Sequence[float]) -> Tensor:
    """Weights of floor, wall, object and sky in all pixels, 255 for one: uint8 with shape (scales, shapes, orientations, 4, 64, 64).

    Arguments:
        scales: lengths over those of the medium object.
        shapes: cube, cylinder, sphere or capsule.
        orientations: angles φ of the camera, in radians.
    """
    result = torch.empty(len(scales), len(shapes), len(orientations), 4, SIDE, SIDE, dtype=torch.uint8)
    for k, angle in enumerate(orientations):
        origin, directions = _camera(angle)
        room = _room(origin, directions)
        for i, scale in enumerate(scales):
            near = _near(origin, directions, scale)
            for j, shape in enumerate(shapes):
                result[i, j, k] = _pixels(*_placed(shape, scale, near, origin, directions[:, near], *room))
    return result


def _camera(angle: float) -> tuple[Tensor, Tensor]:
    """The rays' origin, with shape (3, 1), and directions, row by row from the top left."""
    sine, cosine = math.sin(angle), math.cos(angle)
    length = math.hypot(DISTANCE, CAMERA - AIM)
    down, ahead = (AIM - CAMERA) / length, DISTANCE / length
    forward, right, up = (
        _column(-sine * ahead, cosine * ahead, down),
        _column(cosine, sine, 0),
        _column(sine * down, -cosine * down, ahead),
    )
    steps = VIEW * ((torch.arange(SIDE * RAYS, dtype=torch.float64) + 0.5) / (SIDE * RAYS) * 2 - 1)
    rows, columns = torch.meshgrid(-steps, steps, indexing="ij")
    return _column(DISTANCE * sine, -DISTANCE * cosine, CAMERA), forward + columns.flatten() * right + rows.flatten() * up


def _room(origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Label (0 floor, 1 wall, 3 sky) and light of what rays from inside the empty room meet, with shape (N,)."""
    walls = (ROOM * directions[:2].sign() - origin[:2]) / directions[:2]
    distance, axis = walls.min(dim=0)
    height = origin[2] + distance * directions[2]
    floor = height < 0
    label = torch.where(floor, 0, torch.where(height <= WALL, 1, 3))
    distance = torch.where(floor, -origin[2] / directions[2], distance)
    inward = -directions.sign() * torch.nn.functional.one_hot(axis, 3).T
    light = _light(origin + distance * directions, torch.where(floor, _column(0, 0, 1), inward))
    return label, torch.where(label == 3, 1.0, light)


def _near(origin: Tensor, directions: Tensor, scale: float) -> Tensor:
    """Indices of the rays that come within 1.2 scale of the height 0.9 scale: no part of an object is further from there."""
    ball = _round(origin - _column(0, 0, 0.9 * scale), directions, 1.2 * scale)
    return torch.nonzero(ball.enter < ball.leave)[:, 0]


def _placed(shape: str, scale: float, near: Tensor, origin: Tensor, directions: Tensor, *room: Tensor) -> tuple[Tensor, Tensor]:
    """The room's labels and light with an object in it, which the rays numbered `near` may meet; `directions` are theirs."""
    met = _object(shape, scale, origin, directions)
    label, light = (each.clone() for each in room)
    seen = torch.nonzero(met.enter < met.leave)[:, 0]
    label[near[seen]] = 2
    light[near[seen]] = _light(origin + met.enter[seen] * directions[:, seen], met.normal[:, seen])
    return label, light


def _pixels(label: Tensor, light: Tensor) -> Tensor:
    """Rays with shape (N,) averaged to uint8 with shape (4, 64, 64)."""
    pixel = torch.arange(SIDE * RAYS) // RAYS
    place = label + 4 * (SIDE * pixel[:, None] + pixel).flatten()
    sums = torch.bincount(place, light, minlength=4 * SIDE**2).unflatten(0, (SIDE, SIDE, 4))
    return torch.round(255 * sums / RAYS**2).to(torch.uint8).permute(2, 0, 1)


def _light(points: Tensor, normal: Tensor) -> Tensor:
    """With shape (N,), from the ambient light up to 1."""
    towards = _column(*LAMP) - points
    cosine = (towards * normal).sum(dim=0) / (towards**2).sum(dim=0).sqrt()
    return (AMBIENT + DIFFUSE * cosine.clamp(min=0)).clamp(max=1)


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
    return _first(middle, *(_ball(origin, directions, radius, z) for z in (radius, height - radius)))


def _slab(origin: Tensor, directions: Tensor, axis: int, low: float, high: float) -> Solid:
    """Between two planes across an axis."""
    first, second = ((bound - origin[axis]) / directions[axis] for bound in (low, high))
    normal = torch.zeros_like(directions)
    normal[axis] = -directions[axis].sign()
    return Solid(torch.minimum(first, second), torch.maximum(first, second), normal)


def _tube(origin: Tensor, directions: Tensor, radius: float) -> Solid:
    """The endless cylinder round the z axis."""
    flat = _column(1, 1, 0)
    return _round(origin * flat, directions * flat, radius)


def _ball(origin: Tensor, directions: Tensor, radius: float, height: float) -> Solid:
    return _round(origin - _column(0, 0, height), directions, radius)


def _round(start: Tensor, directions: Tensor, radius: float) -> Solid:
    """Where |start + t directions| is below the radius."""
    square = (directions**2).sum(dim=0)
    middle = -(directions * start).sum(dim=0) / square
    half = (middle**2 - ((start**2).sum() - radius**2) / square).sqrt()  # not a number where the ray misses, which is never less
    enter = middle - half
    return Solid(enter, middle + half, (start + enter * directions) / radius)


def _common(*solids: Solid) -> Solid:
    """The intersection."""
    enter, last = torch.stack([solid.enter for solid in solids]).max(dim=0)
    leave = torch.stack([solid.leave for solid in solids]).amin(dim=0)
    return Solid(enter, leave, _chosen(solids, last))


def _first(*solids: Solid) -> Solid:
    """The union, where rays meet it first."""
    enter, first = torch.stack([torch.where(solid.enter < solid.leave, solid.enter, math.inf) for solid in solids]).min(dim=0)
    return Solid(enter, torch.full_like(enter, math.inf), _chosen(solids, first))


def _chosen(solids: Sequence[Solid], which: Tensor) -> Tensor:
    """Normals with shape (3, N) of the solid of each ray."""
    return torch.stack([solid.normal for solid in solids])[which, :, torch.arange(len(which))].T


def _column(x: float, y: float, z: float) -> Tensor:
    return torch.tensor([[x], [y], [z]], dtype=torch.float64)
