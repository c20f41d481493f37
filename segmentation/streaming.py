"""Many scans from sparse samples to label maps, in batches and in bounded memory, one batch while another is drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from cs_recon.device import pick_device
from cs_recon.reconstruction import reconstruct, reconstructors
from segmentation.methods import segmenters
from segmentation.pipeline import as_options, find_in_each, means
from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from cs_recon.reconstruction import Reconstruction
    from segmentation.instances import Instances
    from simulate.measurement import Measurement


class StreamedFrame(NamedTuple):
    """What became of one scan of a stream."""

    scan: Measurement
    reconstruction: Reconstruction
    instances: Instances


def stream(
    scans: Iterable[Measurement],
    *,
    recon: str = "unrolled-ista",
    segment: str = "mask-rcnn",
    device: str = "auto",
    batch_size: int | None = None,
    workers: int = 2,
    recon_options: Mapping[str, Any] | None = None,
    segment_options: Mapping[str, Any] | None = None,
) -> Iterator[StreamedFrame]:
    """Reconstruct scans and find their particles as they come, batch by batch.

    While a GPU computes a batch, the processor draws the particles of another. Scans are taken from the iterable when
    there is room for them, so that a stream may be longer than the memory.

    Parameters
    ----------
    scans : iterable of Measurement
        They may differ in shape; those of one shape in a batch are computed together.
    recon, segment, recon_options, segment_options
        As of `run`. Where particles have 15 to 100 pixels, ``segment_options={"scale": 1}`` finds as many in two thirds
        of the time; ``recon_options={"preset": "fast"}`` does not (0.03 in AP@0.5 less at 10 % sampling, 0.07 at 5 %).
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    batch_size : int, optional
        Scans a batch; if None, 8 on a GPU and 1 on a CPU, where more gain nothing. A batch is told when the next one
        has been read: where scans come slowly, from a microscope, `segmentation.live.LiveSession` tells each at once.
    workers : int
        Batches under way at once.

    Yields
    ------
    StreamedFrame
        In the order of the scans.

    Raises
    ------
    InputError
        For an unknown method, option, device or weights at once; for a scan that cannot be processed when all before it
        have come, with its number. Any other error, as of memory, has a note that tells the batch in which it came.

    Examples
    --------
    >>> from simulate import SceneConfig, make_scene, measure, scan_path
    >>> frame = make_scene(SceneConfig(shape=(96, 96), n_particles=4, diameter_nm=9), rng=3).frame
    >>> scans = (measure(frame, scan_path("random", (96, 96), 0.5, rng=seed)) for seed in range(3))
    >>> [len(found.instances) for found in stream(scans, recon="linear", segment="threshold")]
    [4, 4, 4]
    """
    return _numbered(
        streamed(
            scans, recon=recon, segment=segment, device=device, batch_size=batch_size, workers=workers,
            recon_options=recon_options, segment_options=segment_options,
        )
    )  # fmt: skip


def _numbered(frames: Iterator[StreamedFrame]) -> Iterator[StreamedFrame]:
    """Yield the frames; where one cannot be had, say which."""
    told = 0
    try:
        for frame in frames:
            yield frame
            told += 1
    except InputError as error:
        raise InputError(f"scan {told} of the stream: {error}") from None


def streamed(
    scans: Iterable[Measurement],
    *,
    recon: str,
    segment: str,
    device: str,
    batch_size: int | None = None,
    workers: int = 2,
    recon_options: Mapping[str, Any] | None,
    segment_options: Mapping[str, Any] | None,
    first: int = 0,
) -> Iterator[StreamedFrame]:
    """Do as `stream` does; an `InputError` is that of the scan as it is, since who asks knows how many came.

    The first scan has the number `first` in the notes of other errors.
    """
    if not isinstance(scans, Iterable):
        raise InputError(f"got a {type(scans).__name__} to stream; expected several scans: a list, or what makes them")
    batch_size = (1 if pick_device(device).type == "cpu" else 8) if batch_size is None else batch_size
    check_count(batch_size, "batch_size", 1, 1_000_000)
    check_count(workers, "workers", 1)
    told = as_options(recon_options, "recon_options"), as_options(segment_options, "segment_options")
    on_card = pick_device(device).type == "cuda"
    chain = _Chain(recon, segment, device, torch.cuda.current_device() if on_card else None, *told)
    chain.check()
    return _in_order(iter(scans), chain, int(batch_size), int(workers), first)


@dataclass(frozen=True)
class _Chain:
    """Reconstruction and segmentation, and what batches of scans become by them."""

    recon: str
    segment: str
    device: str
    card: int | None  # of the caller: threads would take the first
    recon_options: dict[str, Any]
    segment_options: dict[str, Any]

    def check(self) -> None:
        """Raise `InputError` for unknown methods, options or weights."""
        reconstructors.check_options(self.recon, self.recon_options)
        segmenters.check_options(self.segment, self.segment_options)
        means(self.recon, self.segment, self.recon_options, self.segment_options)

    def process(self, scans: Sequence[Measurement], first: int) -> tuple[list[StreamedFrame], InputError | None]:
        """Return what a batch becomes whose first scan has this number: up to one that cannot be processed, and why."""
        with nullcontext() if self.card is None else torch.cuda.device(self.card):
            try:
                return self._together(scans), None
            except InputError:
                return self._one_by_one(scans)
            except Exception as error:
                error.add_note(f"at scans {first} to {first + len(scans) - 1}")
                raise

    def _one_by_one(self, scans: Sequence[Measurement]) -> tuple[list[StreamedFrame], InputError | None]:
        done: list[StreamedFrame] = []
        for scan in scans:
            try:
                done += self._together([scan])
            except InputError as error:
                return done, error
        return done, None

    def _together(self, scans: Sequence[Measurement]) -> list[StreamedFrame]:
        images = reconstruct(scans, self.recon, device=self.device, batch_size=len(scans), **self.recon_options)
        found = find_in_each(scans, images, self.segment, device=self.device, **self.segment_options)
        return [StreamedFrame(*one) for one in zip(scans, images, found, strict=True)]


def _in_order(
    scans: Iterator[Measurement], chain: _Chain, batch_size: int, workers: int, first: int
) -> Iterator[StreamedFrame]:
    under_way: deque[Future[tuple[list[StreamedFrame], InputError | None]]] = deque()
    taken = first
    lost: Exception | None = None
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                # One more than are under way, which waits its turn; but what is done is told before more is read.
                while lost is None and len(under_way) <= workers and not (under_way and under_way[0].done()):
                    batch: list[Measurement] = []
                    try:
                        batch.extend(islice(scans, batch_size))
                    except Exception as error:  # told when all that came before is done
                        lost = error
                    if not batch:
                        break
                    under_way.append(pool.submit(chain.process, batch, taken))
                    taken += len(batch)
                if not under_way:
                    break
                done, error = under_way.popleft().result()
                yield from done
                if error is not None:
                    raise error
        finally:
            for future in under_way:
                future.cancel()
    if lost is not None:
        raise lost
