"""From a file's stored values to attenuation and back, so that something can be put into a real image where X-rays add.

Raw detector data that are linear in the rays are exact: attenuation is minus their logarithm (Beer and Lambert). Everything
else needs a model of how much grey one unit of attenuation makes, and says so. Raw logarithmic data are attenuation times an
unknown factor. A picture for display (film, or a station's rendering) is taken as a sigmoid of attenuation between its black
and its white, as a film's characteristic curve and the SIGMOID VOI function (PS3.3 C.11.2.1.3.1) are: contrast is highest at
middle greys and falls towards both ends, so it follows the local density. The factor is set where it can be seen: between the
darkest and the brightest twentieth of the breast's interior lies a change from fat to gland of GLANDULAR_SPREAD of the
breast's thickness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.special import expit, logit

from tramtrack.imaging.presentation import PixelError, is_for_processing, present
from tramtrack.phantom.materials import SOFT_CONTRAST

GLANDULAR_SPREAD = 0.5
"""Share of the thickness that changes from fat to gland between the darkest and the brightest twentieth (ours)."""

THICKNESS_MM = 50.0
"""Compressed thickness where the file does not tell Body Part Thickness (ours)."""

HEADROOM = 0.25
"""How far a display's white lies above the brightest tissue at least, as a share of the breast's range of greys (ours)."""

Kind = Literal["exposure-linear", "exposure-log", "display"]


@dataclass(frozen=True)
class GreyDomain:
    """How stored values and attenuation hang together.

    ``kind``: exposure-linear (exact), exposure-log or display (both by the local contrast model). ``sign``: 1 where a higher
    stored value is more attenuation. ``black`` and ``white``: stored values that nothing and everything attenuates to.
    ``gain``: for exposure-log stored values, for display logits, to one unit of attenuation; 1 for exposure-linear.
    """

    kind: Kind
    sign: int
    black: float
    white: float
    gain: float

    @property
    def is_exact(self) -> bool:
        """Whether attenuation is known and not modelled."""
        return self.kind == "exposure-linear"

    @property
    def label(self) -> str:
        """What the output says about it, at most 64 characters."""
        return {
            "exposure-linear": "exposure domain, linear",
            "exposure-log": "exposure domain, logarithm, modelled local contrast",
            "display": "display domain, modelled local contrast",
        }[self.kind]

    def attenuation(self, stored: NDArray[np.generic]) -> NDArray[np.float64]:
        """Stored values as attenuation, without unit, up to a constant; the same shape, float64."""
        values = np.asarray(stored, dtype=np.float64)
        if self.kind == "exposure-linear":
            return -np.log(np.maximum(self.sign * (self.black - values), 1.0))
        if self.kind == "exposure-log":
            return self.sign * values / self.gain
        share = (values - self.black) / (self.white - self.black)
        return np.asarray(logit(np.clip(share, 1e-4, 1 - 1e-4))) / self.gain

    def stored(self, attenuation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Attenuation as stored values, not rounded; the inverse of ``attenuation``."""
        if self.kind == "exposure-linear":
            return self.black - self.sign * np.exp(-attenuation)
        if self.kind == "exposure-log":
            return self.sign * attenuation * self.gain
        return self.black + (self.white - self.black) * np.asarray(expit(attenuation * self.gain))


def picture_domain(
    stored: NDArray[np.generic],
    interior: NDArray[np.bool_],
    limits: tuple[int, int],
    sign: int = 1,
    thickness_mm: float | None = None,
) -> GreyDomain:
    """The display domain of a picture's stored values (rows, columns), bright dense where ``sign`` is 1.

    ``interior``: where the breast's interior is, bool. ``limits``: the least and the greatest value that can be stored.
    Raises PixelError where the interior has one grey only.
    """
    values = stored[interior].astype(np.float64) * sign
    dark, bright = np.percentile(values, (5, 95))
    if bright - dark < 2:
        raise PixelError("unreadable", f"expected a breast of many greys, found a range of {bright - dark:g}")
    low = float(stored.min()) if sign > 0 else -float(stored.max())
    high = float(np.percentile(values, 99.9))
    most = float(limits[1] if sign > 0 else -limits[0])
    span = high - low
    top = float(stored.max()) if sign > 0 else -float(stored.min())
    white = max(top, min(high + HEADROOM * span, most))
    white += 0.02 * span
    black = low - 0.02 * span
    ends = logit(np.array([(dark - black) / (white - black), (bright - black) / (white - black)]))
    gain = float(ends[1] - ends[0]) / soft_range(thickness_mm)
    return GreyDomain("display", sign, sign * black, sign * white, gain)


def raw_domain(
    stored: NDArray[np.generic], interior: NDArray[np.bool_], dataset: Dataset, thickness_mm: float | None = None
) -> GreyDomain:
    """The exposure domain of For Processing values, by PixelIntensityRelationship and its sign (PS3.3 C.8.11.3.1.2).

    A sign of 1 means that higher values are more rays. A modality transformation must be a straight line, as the standard
    asks of these images. Raises PixelError where the header does not say what the values mean.
    """
    relationship = str(dataset.get("PixelIntensityRelationship", "") or "").strip().upper()
    sign = int(dataset.get("PixelIntensityRelationshipSign", 0) or 0)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    if relationship not in ("LIN", "LOG") or sign not in (-1, 1) or "ModalityLUTSequence" in dataset:
        found = "a modality LUT" if "ModalityLUTSequence" in dataset else f"{relationship or 'nothing'} and {sign or 'nothing'}"
        raise PixelError(
            "unreadable", f"raw detector data: expected PixelIntensityRelationship LIN or LOG, sign 1 or -1, found {found}"
        )
    dense = -sign * (1 if slope > 0 else -1)
    if relationship == "LOG":
        dark, bright = np.percentile(dense * stored[interior].astype(np.float64), (5, 95))
        return GreyDomain("exposure-log", dense, 0.0, 0.0, max(float(bright - dark), 1.0) / soft_range(thickness_mm))
    none = -intercept / slope if dense < 0 else 2.0 ** int(dataset.BitsStored) - 1  # the value of a pixel without any rays
    return GreyDomain("exposure-linear", dense, none, none, 1.0)


def dicom_domain(stored: NDArray[np.generic], interior: NDArray[np.bool_], dataset: Dataset) -> GreyDomain:
    """The grey domain of a DICOM file's stored values. Raises PixelError."""
    thickness = _thickness(dataset)
    if is_for_processing(dataset):
        return raw_domain(stored, interior, dataset, thickness)
    ends = np.percentile(stored[interior].astype(np.float64), (2, 98)).astype(stored.dtype)
    shown = present(ends.reshape(1, 2), dataset).values[0]
    if shown[0] == shown[1]:
        raise PixelError("unreadable", "expected a breast of many greys, found one after the header's window")
    return picture_domain(stored, interior, stored_limits(dataset), 1 if shown[1] > shown[0] else -1, thickness)


def stored_limits(dataset: Dataset) -> tuple[int, int]:
    """The least and the greatest value that Bits Stored and Pixel Representation allow."""
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation", 0)) == 1
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def soft_range(thickness_mm: float | None) -> float:
    """The attenuation between the darkest and the brightest twentieth of a breast's interior, without unit (the model)."""
    return SOFT_CONTRAST * GLANDULAR_SPREAD * (thickness_mm or THICKNESS_MM)


def _thickness(dataset: Dataset) -> float | None:
    try:
        value = float(dataset.get("BodyPartThickness", 0) or 0)
    except (TypeError, ValueError):
        return None
    return value if 10 <= value <= 150 else None
