"""What a movie of particles shows: how they move, grow, merge, split, come and go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from simulate.errors import InputError, check_count, check_positive, check_within, is_finite
from simulate.scenes import SceneConfig

MOST_FRAMES = 1_000_000
LONGEST_DRIFT = 4.0
"""In sides of the frame: the whole strip of film that passes through the frame is kept in memory."""
LARGEST_GROWTH = 4.0
"""In the frame's longer sides."""
MOST_NEW_PARTICLES = 1000
"""Mean number that may appear on the frame between two frames."""


@dataclass(frozen=True)
class MovieConfig:
    r"""What to film.

    Parameters
    ----------
    scene : SceneConfig
        The first frame. Its number of particles is a density: beyond the frame lie as many on an equal area, and come
        in as others leave. The film's ramp, share of holes and contamination are those of the whole film that the
        movie draws (`simulate.Movie`): where it is larger than the frame, one frame shows a part of them.
    n_frames : int
        Number of frames.
    frame_interval_s : float
        Time :math:`\Delta t` from one frame to the next in s.
    diffusion_nm2_per_s : float
        Diffusion coefficient :math:`D` of each particle on the film: a step along either axis has the variance
        :math:`2 D \Delta t` (Einstein 1905), at most that of a frame's side.
    drift_nm_per_s : (float, float)
        Velocity (down, right) of the specimen, particles and film together; at most four sides of the frame in all.
    growth_nm_per_s : float
        Rate of the nominal diameter; negative for dissolution, by which particles of less than 2 pixels disappear.
    coalescence : bool
        Whether particles that overlap merge, see `simulate.motion.Population`.
    splitting_per_s, disappearance_per_s : float
        Rate at which a particle falls into two, or vanishes at once.
    appearance_per_s : float
        Rate at which particles appear on the area of the frame, at most 1000 in a frame.

    References
    ----------
    Einstein, "Über die von der molekularkinetischen Theorie der Wärme geforderte Bewegung von in ruhenden Flüssigkeiten
    suspendierten Teilchen", Annalen der Physik 322, 549-560 (1905), https://doi.org/10.1002/andp.19053220806.

    Examples
    --------
    >>> MovieConfig(n_frames=50, frame_interval_s=0.2).duration_s
    9.8
    """

    scene: SceneConfig = field(default_factory=SceneConfig)
    n_frames: int = 20
    frame_interval_s: float = 1.0
    diffusion_nm2_per_s: float = 0.0
    drift_nm_per_s: tuple[float, float] = (0.0, 0.0)
    growth_nm_per_s: float = 0.0
    coalescence: bool = False
    splitting_per_s: float = 0.0
    appearance_per_s: float = 0.0
    disappearance_per_s: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.scene, SceneConfig):
            raise InputError(f"the movie's scene is {self.scene!r}; expected a SceneConfig")
        check_count(self.n_frames, "n_frames", 1)
        check_within(self.n_frames, "n_frames", 1, MOST_FRAMES)
        object.__setattr__(self, "n_frames", int(self.n_frames))
        check_positive(self.frame_interval_s, "frame_interval_s", "give it in s")
        if not isinstance(self.coalescence, bool | np.bool_):
            raise InputError(f"coalescence is {self.coalescence!r}; expected true or false")
        for name in ("diffusion_nm2_per_s", "splitting_per_s", "appearance_per_s", "disappearance_per_s"):
            check_within(getattr(self, name), name)
        check_within(self.growth_nm_per_s, "growth_nm_per_s", -math.inf)
        drift = self.drift_nm_per_s
        if not (isinstance(drift, tuple | list) and len(drift) == 2 and all(is_finite(speed) for speed in drift)):
            raise InputError(f"drift_nm_per_s is {drift!r}; expected two finite numbers (down, right)")
        object.__setattr__(self, "drift_nm_per_s", (float(drift[0]), float(drift[1])))
        self._check_range()

    def _check_range(self) -> None:
        sides_nm = np.array(self.scene.shape) * self.scene.pixel_size_nm
        side_nm, interval_s, duration_s = sides_nm.min(), self.frame_interval_s, self.duration_s
        step_nm = np.sqrt(2 * self.diffusion_nm2_per_s * interval_s)
        if step_nm > side_nm:
            raise InputError(
                f"diffusion_nm2_per_s is {self.diffusion_nm2_per_s:g}: a step would be {step_nm:.3g} nm in a frame of "
                f"{side_nm:.3g} nm; expected at most {side_nm**2 / 2 / interval_s:.3g}"
            )
        for speed, side, axis in zip(self.drift_nm_per_s, sides_nm, ("down", "right"), strict=True):
            if abs(speed) * duration_s > LONGEST_DRIFT * side:
                raise InputError(
                    f"the specimen would drift {axis} by {abs(speed) * duration_s / side:.3g} sides of the frame; "
                    f"expected at most {LONGEST_DRIFT:g}, here {LONGEST_DRIFT * side / duration_s:.3g} nm/s"
                )
        if self.growth_nm_per_s * duration_s > LARGEST_GROWTH * sides_nm.max():
            raise InputError(
                f"growth_nm_per_s is {self.growth_nm_per_s:g}: particles would grow far larger than the frame; "
                f"expected at most {LARGEST_GROWTH * sides_nm.max() / duration_s:.3g}"
            )
        if self.appearance_per_s * interval_s > MOST_NEW_PARTICLES:
            raise InputError(
                f"appearance_per_s is {self.appearance_per_s:g}; expected at most "
                f"{MOST_NEW_PARTICLES / interval_s:g}, which is {MOST_NEW_PARTICLES} new particles a frame"
            )

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the last in s."""
        return (self.n_frames - 1) * self.frame_interval_s

    @property
    def drift_px(self) -> tuple[float, float]:
        """Drift (down, right) from one frame to the next in pixels."""
        scale = self.frame_interval_s / self.scene.pixel_size_nm
        return self.drift_nm_per_s[0] * scale, self.drift_nm_per_s[1] * scale

    @property
    def step_px(self) -> float:
        """Standard deviation of a Brownian step along either axis in pixels."""
        return float(np.sqrt(2 * self.diffusion_nm2_per_s * self.frame_interval_s)) / self.scene.pixel_size_nm
