"""Settings of the networks of the family: those that all share, and what each has besides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import chain

from segmentation.mapping import check_mapping
from simulate.errors import InputError, check_count, check_positive, check_within


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """What every network has.

    Parameters
    ----------
    mapping : {"reconstruct", "features", "sparse"}
        What the network sees, see `segmentation.mapping`.
    feature_channels : int
        Channels of the ``features`` mapping's maps.
    operating_point : float
        The score from which on a detection counts, or the probability from which on a pixel is particle; chosen on
        validation images.
    widths : tuple of int
        Channels of the stages.
    """

    mapping: str = "reconstruct"
    feature_channels: int = 40
    operating_point: float = 0.5
    widths: tuple[int, ...] = (40, 72, 104, 128)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_mapping(self.mapping)
        check_within(self.operating_point, "operating_point", 0, 1)
        check_count(self.feature_channels, "feature_channels", 1)
        if not self.widths:
            raise InputError("widths is empty; expected the channels of one stage at least")
        for width in self.widths:
            check_count(width, "a width", 1)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a plain dictionary, for weight files."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class RegionSettings(NetworkSettings):
    """What networks that find particles one by one have besides.

    Parameters
    ----------
    pyramid : int
        Channels of the feature pyramid and the heads.
    anchors_px : tuple of (float, float)
        Anchor sides at each level (strides 4, 8, 16, 32), in pixels; each with aspect ratios 1/2, 1 and 2.
    max_particles : int
        The most particles in one frame.
    min_score, box_nms : float
        Detections scored lower are dropped, and those whose box overlaps a better one by more than this IoU.
    mask_scoring : bool
        Whether a detection's score is multiplied by what its mask promises, see `regions.expected_iou`.
    """

    pyramid: int = 64
    anchors_px: tuple[tuple[float, ...], ...] = ((8, 14), (22, 36), (56, 90), (140, 220))
    max_particles: int = 3000
    min_score: float = 0.05
    box_nms: float = 0.5
    mask_scoring: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "anchors_px", tuple(tuple(sizes) for sizes in self.anchors_px))
        for side in chain.from_iterable(self.anchors_px):
            check_positive(side, "an anchor's side")
        check_count(self.pyramid, "pyramid", 1)
        check_count(self.max_particles, "max_particles", 1)
        for name in ("min_score", "box_nms"):
            check_within(getattr(self, name), name, 0, 1)
        if len(self.widths) != len(self.anchors_px):
            raise InputError(f"{len(self.widths)} stages but anchors for {len(self.anchors_px)}; expected as many")
        counts = [len(sizes) for sizes in self.anchors_px]
        if len(set(counts)) > 1 or not counts[0]:
            raise InputError(
                f"anchors_px has {', '.join(map(str, counts))} sides at its levels; expected as many at each, one at "
                "least: one head looks at all levels"
            )


@dataclass(frozen=True, kw_only=True)
class MaskRCNNConfig(RegionSettings):
    """The shape of the network and the limits of its search, besides `RegionSettings`.

    Parameters
    ----------
    backbone : {"compact", "resnet50"}
        The compact residual network, or torchvision's ResNet-50 with frozen batch normalisation, which COCO's weights
        fit.
    roi_samples, roi_positive_share : int, float
        How many proposals of an image the heads learn from, and at most which share of them particles: the rest teach
        what is none.
    """

    backbone: str = "compact"
    roi_samples: int = 96
    roi_positive_share: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.roi_samples, "roi_samples", 1)
        check_within(self.roi_positive_share, "roi_positive_share", 0, 1)


@dataclass(frozen=True, kw_only=True)
class MaskRPNConfig(RegionSettings):
    """The shape of the network and the limits of its search, besides `RegionSettings`.

    Parameters
    ----------
    masks_per_image : int
        How many proposals of an image the mask branch learns from.
    """

    masks_per_image: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.masks_per_image, "masks_per_image", 1)


@dataclass(frozen=True, kw_only=True)
class MaskFPNConfig(NetworkSettings):
    """The shape of the semantic pyramid, besides `NetworkSettings`.

    Parameters
    ----------
    pyramid : int
        Channels of the pyramid and the heads.
    """

    pyramid: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.pyramid, "pyramid", 1)


@dataclass(frozen=True, kw_only=True)
class UNetConfig(NetworkSettings):
    """The shape of the U-Net: `NetworkSettings`, with `widths` at strides 4, 8, 16, ..."""
