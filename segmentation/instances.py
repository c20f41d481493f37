"""The particles of one frame: a label map, and beside it one row of boxes, scores and masks a particle."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from simulate.errors import InputError, PixelSize, check_numbers, check_pixel_size, check_shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MASK_SIZE = 28


@dataclass(frozen=True, eq=False, repr=False)
class Instances:
    """Segmented particles: what every segmentation method returns and every measurement starts from.

    There is one label map a frame and never a stack of full-frame masks. Rows of `boxes`, `scores` and `masks`
    belong to `ids`, which ascend. A frame without particles is a normal one.

    Parameters
    ----------
    labels : array_like of int, shape (H, W)
        0 where there is no particle, else the particle's id: any positive integers. Stored as int32.
    boxes : array_like, shape (N, 4), optional
        Boxes x0, y0, x1, y1 in pixels, as pixel edges: the pixel in column 3 reaches from 3 to 4. Computed from
        the labels if None. Stored as float32.
    scores : array_like, shape (N,), optional
        How sure the method is of each particle, in [0, 1]; 1 if None. Stored as float32.
    masks : array_like, shape (N, 28, 28), optional
        Probability in [0, 1] of each cell of a particle's box to be particle. Stored as float16.
    pixel_size_nm : float or (float, float), optional
        Edge length of a pixel in nm, or (row, column) lengths; None if unknown.
    intensity : array_like, shape (H, W), optional
        The image that intensities are measured on, any unit. Stored as float64.
    name : str
        The frame's name.
    method : str
        The segmentation method's name.
    info : dict
        Settings actually used (the weights' file and hash), for provenance.

    Attributes
    ----------
    ids : ndarray of int32, shape (N,)
        The particles' ids, ascending.

    Raises
    ------
    InputError
        If the labels are not whole numbers of at least 0 in two dimensions, or another array does not fit them.
        A boolean mask is refused too: which of its pixels belong together is the caller's choice.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((6, 8), int)
    >>> labels[1:3, 2:5] = 7
    >>> particles = Instances(labels, pixel_size_nm=0.5)
    >>> len(particles), particles.ids.tolist(), particles.boxes.tolist()
    (1, [7], [[2.0, 1.0, 5.0, 3.0]])
    """

    labels: NDArray[np.int32]
    _: KW_ONLY
    boxes: NDArray[np.float32] = None  # pyright: ignore[reportAssignmentType]  # computed from the labels if None
    scores: NDArray[np.float32] = None  # pyright: ignore[reportAssignmentType]  # ones if None
    masks: NDArray[np.float16] | None = None
    pixel_size_nm: PixelSize | None = None
    intensity: NDArray[np.float64] | None = None
    name: str = "frame"
    method: str = "labels"
    info: dict[str, object] = field(default_factory=dict)
    ids: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        labels = check_labels(self.labels)
        ids = label_ids(labels)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "pixel_size_nm", check_pixel_size(self.pixel_size_nm))
        boxes = self._tight_boxes() if self.boxes is None else _rows(self.boxes, "boxes", (ids.size, 4))
        if (boxes[:, 2:] <= boxes[:, :2]).any():
            raise InputError("a box has no extent; expected x0 < x1 and y0 < y1 in every row of boxes")
        object.__setattr__(self, "boxes", boxes.astype(np.float32))
        scores = np.ones(ids.size) if self.scores is None else _rows(self.scores, "scores", (ids.size,))
        object.__setattr__(self, "scores", _in_unit_range(scores, "scores").astype(np.float32))
        if self.masks is not None:
            masks = _rows(self.masks, "masks", (ids.size, MASK_SIZE, MASK_SIZE))
            object.__setattr__(self, "masks", _in_unit_range(masks, "masks").astype(np.float16))
        if self.intensity is not None:
            object.__setattr__(self, "intensity", check_image_of(self.intensity, labels.shape))

    def __repr__(self) -> str:
        rows, cols = self.shape
        return f"Instances({self.name!r}: {len(self)} particles in {rows} x {cols} pixels by {self.method})"

    def __len__(self) -> int:
        """Return the number of particles."""
        return int(self.ids.size)

    @property
    def shape(self) -> tuple[int, int]:
        """Frame shape (rows, columns)."""
        rows, cols = self.labels.shape
        return rows, cols

    def crop(self, particle_id: int) -> tuple[slice, slice, NDArray[np.bool_]]:
        """Return the rows and columns that hold one particle, and its mask in them.

        Parameters
        ----------
        particle_id : int
            One of `ids`.

        Returns
        -------
        rows, cols : slice
            The smallest part of the frame that holds the particle.
        mask : ndarray of bool, shape (h, w)
            True on the particle's pixels in that part.

        Raises
        ------
        InputError
            If there is no such particle.

        Examples
        --------
        >>> rows, cols, mask = Instances([[0, 0, 4], [0, 4, 4]]).crop(4)
        >>> rows, cols, mask.tolist()
        (slice(0, 2, None), slice(1, 3, None), [[False, True], [True, True]])
        """
        index = int(np.searchsorted(self.ids, particle_id))
        if index == len(self) or self.ids[index] != particle_id:
            raise InputError(f"there is no particle {particle_id}; expected one of the {len(self)} ids of this frame")
        rows, cols = self._slices[index]
        return rows, cols, self.labels[rows, cols] == particle_id

    def only(self, kept: NDArray[np.bool_]) -> Instances:
        """Return the particles where `kept`, shape (N,), is true; all else stays as it is.

        Examples
        --------
        >>> two = Instances([[0, 0, 4], [0, 4, 7]])
        >>> two.only(two.ids > 4).labels.tolist()
        [[0, 0, 0], [0, 0, 7]]
        """
        if len(kept) == len(self) and kept.all():
            return self
        gone = np.concatenate([[True], ~kept])[compact_labels(self.labels, self.ids)]
        return replace(
            self,
            labels=np.where(gone, 0, self.labels),
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            masks=None if self.masks is None else self.masks[kept],
        )

    @cached_property
    def _slices(self) -> list[tuple[slice, slice]]:
        return ndimage.find_objects(compact_labels(self.labels, self.ids), max_label=len(self))

    def _tight_boxes(self) -> NDArray[np.float64]:
        edges = [(cols.start, rows.start, cols.stop, rows.stop) for rows, cols in self._slices]
        return np.array(edges, dtype=np.float64).reshape(-1, 4)


def check_labels(labels: ArrayLike) -> NDArray[np.int32]:
    """Return a label map as int32 (H, W), or raise `InputError` naming what is wrong with it."""
    array = np.asarray(labels)
    check_shape(array.shape, "label map", smallest=1)
    if array.dtype == np.bool_:
        raise InputError(
            "label map is a boolean mask; expected a whole number per particle: "
            "label its connected parts first, e.g. with skimage.measure.label"
        )
    if array.dtype.kind not in "uif":
        raise InputError(f"label map has type {array.dtype}; expected whole numbers")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InputError("label map holds NaN or infinite values; expected whole numbers, 0 for the background")
        if (array != np.rint(array)).any():
            raise InputError("label map holds fractions; expected whole numbers: is this an image or a probability?")
    lowest, highest = array.min(), array.max()
    if lowest < 0:
        raise InputError(f"label map holds {lowest:g}; expected 0 for the background and positive whole numbers")
    if highest > np.iinfo(np.int32).max:
        raise InputError(f"label map holds {highest:g}; expected labels below 2^31: renumber them")
    return array.astype(np.int32)


def check_image_of(image: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an intensity image as float64, or raise `InputError` if it does not fit the label map's `shape`."""
    array = check_numbers(image, "intensity image")
    if array.shape != shape:
        raise InputError(f"intensity image has shape {array.shape}; expected the label map's shape {shape}")
    if not np.isfinite(array).all():
        raise InputError("intensity image holds NaN or infinite values; expected finite numbers")
    return array.astype(np.float64)


def label_ids(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the positive labels that occur, ascending, int32 (N,)."""
    if labels.max() <= labels.size:
        return np.flatnonzero(np.bincount(labels.ravel())[1:]).astype(np.int32) + np.int32(1)
    return np.unique(labels[labels > 0])


def compact_labels(labels: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the label map renumbered 1 ... N in the order of `ids` (which must be all its labels, ascending)."""
    if ids.size == 0 or ids[-1] == ids.size:
        return labels
    compact = np.zeros_like(labels)
    inside = labels > 0
    compact[inside] = np.searchsorted(ids, labels[inside]) + 1
    return compact


def as_instances(particles: Instances | ArrayLike) -> Instances:
    """Return `particles` itself, or a label map as `Instances`."""
    return particles if isinstance(particles, Instances) else Instances(np.asarray(particles))


def _rows(values: ArrayLike, what: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 and shape[0] == 0:
        return array.reshape(shape)
    if array.shape != shape:
        raise InputError(f"{what} have shape {array.shape}; expected {shape}, one row for each id in ascending order")
    if not np.isfinite(array).all():
        raise InputError(f"{what} hold NaN or infinite values; expected finite numbers")
    return array


def _in_unit_range(array: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise InputError(f"{what} reach from {array.min():g} to {array.max():g}; expected probabilities in [0, 1]")
    return array
