"""Networks on frames of any size: window by window, merged with no seams and nothing counted twice.

A frame of up to a million pixels is one window. The maps of a larger one are blended where windows overlap, as those of
a reconstruction are. Detections are collected: a particle in the overlap of two windows is found in both, whole in at
least one of them if it is smaller than the overlap; what a window's edge cuts gives way to what it does not. The pieces
of a larger one, which every window cuts, become one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from scipy.sparse.csgraph import connected_components

from cs_recon.tiles import WHOLE_PIXELS, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from segmentation.mapping import Mapped
    from segmentation.views import Found

    Run = Callable[[Tensor], list[Found]]

TILE, HALO = 768, 128
"""Side of a window without its halo, and how far it reaches beyond, in pixels: windows overlap by 2 x 128."""
_DUPLICATE_IOU = 0.5
_COVERED_SHARE = 0.5
_EDGE_PX = 1.5


def dense_maps(run: Run, frames: Sequence[Mapped], *, multiple: int) -> list[Found]:
    """Return a network's maps (H, W) of each frame, padded as the frame is, blended from windows.

    Parameters
    ----------
    run : callable
        From maps (B, C, h, w) to named maps (H, W) of the window in each frame.
    frames : sequence of Mapped
        One or more, of one padded shape: looked at together.
    multiple : int
        What corners of windows are multiples of.
    """
    found: list[Found] = [{} for _ in frames]
    for rows, cols, weight in _windows(frames[0], multiple):
        for whole, maps in zip(found, run(_window_of(frames, rows, cols)), strict=True):
            for name, part in maps.items():
                blended = whole.setdefault(name, torch.zeros(frames[0].padded, device=part.device))
                blended[rows, cols] += weight.to(part) * part
    return found


def detections(run: Run, frames: Sequence[Mapped], *, multiple: int, min_score: float) -> list[Found]:
    """Return a network's detections over each frame, best first.

    Parameters
    ----------
    run : callable
        From maps (B, C, h, w) to ``boxes`` (N, 4), ``scores`` (N,) and ``masks`` (N, 28, 28) in the window of each
        frame.
    frames, multiple : sequence of Mapped, int
        As of `dense_maps`.
    min_score : float
        Detections scored lower are left out.
    """
    parts: list[list[Found]] = [[] for _ in frames]
    for rows, cols, _ in _windows(frames[0], multiple):
        for own, found in zip(parts, run(_window_of(frames, rows, cols)), strict=True):
            sure = found["scores"] >= min_score
            boxes = found["boxes"][sure] + found["boxes"].new_tensor([cols.start, rows.start, cols.start, rows.start])
            own.append({
                "boxes": boxes,
                "scores": found["scores"][sure],
                # Half precision is exact enough for masks and keeps thousands of them small.
                "masks": found["masks"][sure].half(),
                "cut": _cut(boxes, rows, cols, frames[0].padded),
                "window": boxes.new_tensor([cols.start, rows.start, cols.stop, rows.stop]).expand_as(boxes),
            })  # fmt: skip
    return [_whole(own) for own in parts]


def _whole(parts: list[Found]) -> Found:
    """Return the detections of a frame's windows as the frame's, best first."""
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if len(parts) > 1:
        joined = _distinct(**joined)
    best = torch.argsort(joined["scores"], descending=True, stable=True)
    return {name: joined[name][best] for name in ("boxes", "scores", "masks")}


def _window_of(frames: Sequence[Mapped], rows: slice, cols: slice) -> Tensor:
    return torch.cat([frame.window(rows, cols) for frame in frames])


def _windows(mapped: Mapped, multiple: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield windows' rows and columns, and the weights (h, w) with which they blend."""
    rows, cols = mapped.padded
    if rows * cols <= WHOLE_PIXELS:
        yield slice(0, rows), slice(0, cols), torch.ones(1, 1)
        return
    row_spans, col_spans = (spans(side, TILE, HALO, multiple) for side in (rows, cols))
    for row in row_spans:
        for col in col_spans:
            weight = row.weight(HALO).float()[:, None] * col.weight(HALO).float()
            yield slice(row.start, row.stop), slice(col.start, col.stop), weight


def _cut(boxes: Tensor, rows: slice, cols: slice, frame: tuple[int, int]) -> Tensor:
    """Tell which boxes touch an edge of their window that is none of the frame's."""
    x0, y0, x1, y1 = boxes.unbind(1)
    cut = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if cols.start > 0:
        cut |= x0 < cols.start + _EDGE_PX
    if rows.start > 0:
        cut |= y0 < rows.start + _EDGE_PX
    if cols.stop < frame[1]:
        cut |= x1 > cols.stop - _EDGE_PX
    if rows.stop < frame[0]:
        cut |= y1 > rows.stop - _EDGE_PX
    return cut


def _distinct(boxes: Tensor, scores: Tensor, masks: Tensor, cut: Tensor, window: Tensor) -> dict[str, Tensor]:
    """Return each particle once: whole where a window saw it whole, else put together from its pieces."""
    from torchvision.ops import nms  # here: see `segmentation.models.family`

    whole = torch.nonzero(~cut)[:, 0]
    whole = whole[nms(boxes[whole], scores[whole], _DUPLICATE_IOU)]
    pieces = torch.nonzero(cut)[:, 0]
    if len(pieces) and len(whole):
        pieces = pieces[_covered_share(boxes[pieces], boxes[whole]).amax(dim=1) <= _COVERED_SHARE]
    found = [(boxes[index], scores[index], masks[index]) for index in whole]
    found += [_joined(boxes[group], scores[group], masks[group]) for group in _groups(boxes, window, pieces)]
    if not found:
        return {"boxes": boxes[:0], "scores": scores[:0], "masks": masks[:0]}
    joined = (torch.stack(parts) for parts in zip(*found, strict=True))
    return dict(zip(("boxes", "scores", "masks"), joined, strict=True))


def _groups(boxes: Tensor, window: Tensor, pieces: Tensor) -> list[Tensor]:
    """Return the pieces (indices) that belong together: where two windows (N, 4) overlap, they saw the same box."""
    if not len(pieces):
        return []
    shared = _intersection(window[pieces][:, None], window[pieces][None])
    seen = boxes[pieces][:, None], boxes[pieces][None]
    ours, theirs = (_intersection(box, shared) for box in seen)
    both, either = _area(_intersection(ours, theirs)), _area(ours) + _area(theirs)
    same_window = (window[pieces][:, None] == window[pieces]).all(dim=2)
    together = (both > _DUPLICATE_IOU * (either - both)) & (both > 0) & ~same_window
    number, group = connected_components(together.cpu().numpy(), directed=False)
    return [pieces[torch.from_numpy(group == index).to(pieces.device)] for index in range(number)]


def _intersection(first: Tensor, second: Tensor) -> Tensor:
    """Return what two boxes (..., 4) share; its sides are negative where that is nothing."""
    low = torch.maximum(first[..., :2], second[..., :2])
    return torch.cat([low, torch.minimum(first[..., 2:], second[..., 2:])], dim=-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def _joined(boxes: Tensor, scores: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return one detection of pieces: the box around them, the best score, and at each place the surest mask."""
    corners = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])
    if len(boxes) == 1:
        return corners, scores[0], masks[0]
    cells = (torch.arange(masks.shape[-1], device=boxes.device) + 0.5) / masks.shape[-1]
    at = corners[:2, None] + cells * (corners[2:] - corners[:2])[:, None]  # x and y of the cells of the joint mask
    # From -1 to 1 over each piece's box; beyond it a piece says nothing (zero).
    sides = boxes[:, 2:] - boxes[:, :2]
    x, y = (2 * (at[axis] - boxes[:, axis, None]) / sides[:, axis, None] - 1 for axis in (0, 1))
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    drawn = F.grid_sample(masks[:, None].float(), grid.float(), align_corners=False, padding_mode="zeros")
    return corners, scores.amax(), drawn[:, 0].amax(dim=0).to(masks.dtype)


def _covered_share(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the share of each box (N) that each other one (M) covers, (N, M)."""
    return _area(_intersection(boxes[:, None], others[None])) / _area(boxes)[:, None].clamp(min=1e-6)
