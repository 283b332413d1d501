"""Gaussian filtering of many-dimensional points on the permutohedral lattice.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
Eurographics 2010, section 3. The vertices of the lattice in d dimensions have d + 1 integer
coordinates that add up to 0 and leave the same remainder when divided by d + 1. Every point lies
in a simplex of d + 1 vertices, one of each remainder. Its value is spread over them (splat), the
vertices are mixed with their neighbours along each of d + 1 directions (blur), and the point
gathers from its vertices (slice).

Instead of using a hash table, the vertices are sorted once for each direction. Neighbours are then
adjacent, and the blur is a sum of shifted copies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deconvnet_cli.errors import UsageError

KEY_BITS = 63  # bits of an int64 that can hold a vertex's coordinates


@dataclass(frozen=True)
class Simplices:
    """The simplices that N points lie in.

    Attributes:
        corner: The coordinates of the vertex of remainder 0, divided by d + 1: int32 d + 1 x N.
        rank: The rank of each coordinate, 0 for the one furthest above ``corner``: int64
            d + 1 x N.
        weights: The weight of the vertex of each remainder, d + 1 x N; each column adds up to 1.
    """

    corner: Tensor
    rank: Tensor
    weights: Tensor


def simplices(features: Tensor) -> Simplices:
    """Find the simplex of each point (section 3.1 of the paper).

    Args:
        features: The points, float32 d x N, in standard deviations of the Gaussian.
    """
    d, count = features.shape
    # Map the points into the plane, scaled so that the blur and both interpolations together have a
    # standard deviation of 1. In units of d + 1, vertices of remainder 0 have whole coordinates.
    lifted = features.new_empty(d + 1, count)
    total = features.new_zeros(count)
    for axis in range(d, 0, -1):
        part = features[axis - 1] * math.sqrt(2 / 3 / (axis * (axis + 1)))
        torch.sub(total, part, alpha=axis, out=lifted[axis])
        total += part
    lifted[0] = total

    corner = lifted.round()
    above = lifted.sub_(corner)  # d + 1 x N, -0.5 to 0.5
    rank = torch.zeros(d + 1, count, dtype=torch.int8, device=features.device)
    for one in range(d):
        for other in range(one + 1, d + 1):
            smaller = above[one] < above[other]
            rank[one] += smaller
            rank[other] += ~smaller
    # Coordinates rounded one by one may not add up to 0; those rounded worst are moved by one.
    rank += corner.sum(0).to(torch.int8)
    moved = (rank < 0).to(torch.int8) - (rank > d).to(torch.int8)
    rank += moved * (d + 1)
    above -= moved
    corner += moved

    order = rank.long()
    falling = torch.empty_like(above).scatter_(0, order, above)
    weights = torch.empty_like(above)
    torch.sub(falling[d] + 1, falling[0], out=weights[0])
    torch.sub(falling[:d].flip(0), falling[1:].flip(0), out=weights[1:])
    return Simplices(corner.int(), order, weights)


@dataclass(frozen=True)
class Keys:
    """Vertices as integers that hold the differences of their coordinates in bit fields.

    Let k be the coordinates. Field i, for i = 0 to d - 1, holds (k_i - k_d) / (d + 1), with field 0
    on top, and the lowest bits hold k_d. A step in direction m adds 1 to all coordinates and
    subtracts d + 1 from k_m. For m < d it changes only field m and the lowest bits.

    Attributes:
        of_points: The keys of the vertex of each remainder of each point, int64 d + 1 x N.
        shifts: The lowest bit of each field.
    """

    of_points: Tensor
    shifts: tuple[int, ...]

    def along(self, vertices: Tensor, direction: int) -> Tensor:
        """Return new keys for M keys, which differ by 1 for neighbours in ``direction`` only."""
        d = len(self.shifts)
        top = self.shifts[0]
        if direction < d:
            above = self.shifts[direction - 1] if direction else KEY_BITS
            return vertices & ~((1 << above) - (1 << self.shifts[direction]))
        # In direction d, k_0 grows by one and the differences from it stay the same.
        change = (d + 1) - sum(1 << shift for shift in self.shifts[1:])
        return (vertices & ((1 << top) - 1)) + (vertices >> top) * change


def pack(found: Simplices) -> Keys:
    """Return the keys of the vertices of all simplices.

    Raises:
        UsageError: The points are spread over more vertices than 63 bits can tell apart.
    """
    d = len(found.corner) - 1
    fields = found.corner[:d] - found.corner[d]
    # Each field must fit, also as direction d changes it, with one step around the corners.
    lows = [low - 1 for low in fields.amin(1).tolist()]
    widths = torch.maximum(_spread(fields), _spread(fields - fields[0])).add_(2).tolist()
    steps = int(_spread(found.corner[[0, d]]).max()) + 2
    shifts = [((d + 1) * steps).bit_length()]
    for width in widths[:0:-1]:
        shifts.insert(0, shifts[0] + width.bit_length())
    if shifts[0] + widths[0].bit_length() > KEY_BITS:
        raise UsageError("the CRF's kernel is too narrow for this photo; set a larger bilateral_sd")

    first = (found.corner[d] - found.corner[d].min() + 1).long().mul_(d + 1)
    for field, low, shift in zip(fields, lows, shifts, strict=True):
        first += (field.long() - low) << shift
    step = [1 - (1 << shift) for shift in shifts] + [sum(1 << shift for shift in shifts) - d]
    # Go from one vertex of the simplex to the next, first in the direction of the last coordinate.
    by_coordinate = torch.tensor(step, device=first.device)[:, None].expand(found.rank.shape)
    keys = torch.empty_like(found.rank)
    onward = torch.empty_like(keys).scatter_(0, found.rank, by_coordinate)
    keys[0] = first
    for remainder in range(d):
        torch.add(keys[remainder], onward[d - remainder], out=keys[remainder + 1])
    return Keys(keys, tuple(shifts))


def _spread(rows: Tensor) -> Tensor:
    """Return the largest value of each row minus the smallest."""
    return rows.amax(1) - rows.amin(1)


class Lattice:
    """A filter for one set of points.

    Attributes:
        vertices: The number M of vertices in use.
    """

    def __init__(self, features: Tensor) -> None:
        """Find the vertices and their neighbours.

        Args:
            features: The points, float32 d x N, in standard deviations of the Gaussian.

        Raises:
            UsageError: The points lie too far apart, see :func:`pack`.
        """
        found = simplices(features)
        packed = pack(found)
        self.vertices = 0
        # Remainders share no vertex, so each is sorted on its own, short enough for a cache.
        self._splat_to = torch.empty_like(packed.of_points)  # d + 1 x N
        kept: list[Tensor] = []
        for numbers, keys in zip(self._splat_to, packed.of_points, strict=True):
            ordered, point = keys.sort(stable=True)
            first = torch.ones_like(ordered, dtype=torch.bool)
            torch.ne(ordered[1:], ordered[:-1], out=first[1:])
            numbers.scatter_(0, point, first.cumsum(0).add_(self.vertices - 1))
            kept.append(ordered.index_select(0, first.nonzero().view(-1)))
            self.vertices += len(kept[-1])
        vertices = torch.cat(kept)

        self._moves: list[Tensor] = []  # int32 M, from the order of the previous direction
        self._links: list[Tensor] = []  # float32 M - 1: 1 if the next vertex is a neighbour
        number = torch.arange(self.vertices, device=features.device)
        for direction in range(len(packed.of_points)):
            ordered, move = packed.along(vertices, direction).sort(stable=True)
            vertices = vertices.index_select(0, move)
            number = number.index_select(0, move)
            self._moves.append(move.int())
            self._links.append(torch.eq(ordered[1:], ordered[:-1] + 1).float())
        place = torch.empty_like(number, dtype=torch.int32)
        place[number] = torch.arange(self.vertices, dtype=torch.int32, device=features.device)

        self._unscaled = self._weights = found.weights  # d + 1 x N
        self._slice_from = place.index_select(0, self._splat_to.view(-1))  # int32, last order
        self._shares = torch.empty_like(found.weights)  # buffer of slice and splat

    def scale(self, factor: Tensor) -> None:
        """Multiply the weights of all points, for splat and slice, by ``factor`` (N).

        A second call replaces the factor of the first.
        """
        self._weights = self._unscaled * factor

    def filter(self, values: Tensor) -> Tensor:
        """Return the sums of all points' values, weighted by the Gaussian of their distance.

        The sums are correct up to one factor that is the same for all points.

        Args:
            values: The values, float32 C x N.

        Returns:
            The sums, float32 C x N.
        """
        # Filtering several channels together would not be faster, and would need transposing.
        return torch.stack([self._slice(self._blur(self._splat(channel))) for channel in values])

    def _splat(self, values: Tensor) -> Tensor:
        """Return the weighted sums of the N values around each of M vertices."""
        sums = values.new_zeros(self.vertices)
        index = self._splat_to.view(-1)
        shares = torch.mul(self._weights, values, out=self._shares).view(-1)
        if sums.is_cuda:  # scatter_add_ adds in any order there
            return sums.index_put_((index,), shares, accumulate=True)
        return sums.scatter_add_(0, index, shares)

    def _blur(self, values: Tensor) -> Tensor:
        """Add half of both neighbours along each direction; return M values in the last order."""
        moved = torch.empty_like(values)
        for move, link in zip(self._moves, self._links, strict=True):
            torch.index_select(values, 0, move, out=moved)
            torch.addcmul(moved[:-1], moved[1:], link, value=0.5, out=values[:-1])
            values[-1:] = moved[-1:]
            values[1:].addcmul_(moved[:-1], link, value=0.5)
        return values

    def _slice(self, values: Tensor) -> Tensor:
        """Return the N weighted sums of each point's vertices."""
        torch.index_select(values, 0, self._slice_from, out=self._shares.view(-1))
        return self._shares.mul_(self._weights).sum(0)
