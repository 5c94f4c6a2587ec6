"""Which calcified arteries keep two lines at which pixel: the generator's own tube, blurred by a station and then by the pixel.

A whole tube lies obliquely across the pixels, so that every place of its axis within a pixel occurs. Along its length the dip
between the two lines is compared with the lines; a double line is one whose dip is at least 10 % of the lines' brightness.
Goal: at 0.1 mm a tube of 1 mm has one. Options: --station.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from measuring import finish
from tramtrack.phantom.acquisition import blurred
from tramtrack.phantom.calcification import PATCHES_AROUND, Tube, add_tube, transported
from tramtrack.phantom.stations import FILM, STATIONS

DIAMETERS_MM = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5)
PIXELS_MM = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.45)
WALL = 0.25
FINE_MM = 0.025
DIP = 0.10


def tube_image(diameter_mm: float, blur_mm: float) -> np.ndarray:
    """A fully calcified tube of wall a quarter of its radius, 24 mm long, turned by 0.1, on pixels of 0.025 mm."""
    t = np.linspace(0, 1, 50)
    points = np.stack([2 + 24 * t, 4.5 + 2.4 * t, np.zeros(50)], 1)
    length = np.linalg.norm(points - points[0], axis=1)
    tube = Tube(points, np.full(50, diameter_mm / 2), length, transported(points))
    image = np.zeros((480, 1120), np.float32)
    add_tube(image, tube, WALL, np.ones((40, PATCHES_AROUND), np.float32), 1.0, FINE_MM)
    return blurred(image, blur_mm, FINE_MM)


def dip(image: np.ndarray, pixel_mm: float) -> float:
    """How far the middle lies below the lines, 0 to 1: the median over the columns of the binned image."""
    factor = round(pixel_mm / FINE_MM)
    small = np.asarray(Image.fromarray(image).reduce(factor))
    columns = range(int(5 / pixel_mm), int(22 / pixel_mm))
    found = []
    for column in columns:
        profile = small[:, column]
        centre = int((4.5 + 0.1 * ((column + 0.5) * pixel_mm - 2)) / pixel_mm)
        left, right = profile[: centre + 1].max(), profile[centre:].max()
        inner = slice(int(np.argmax(profile[: centre + 1])), centre + int(np.argmax(profile[centre:])) + 1)
        found.append(1 - profile[inner].min() / max(min(left, right), 1e-6))
    return float(np.median(found))


def main() -> None:
    """The table of dips, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    stations = {station.name: station for station in (*STATIONS, FILM)}
    parser.add_argument("--station", default="A", choices=list(stations))
    station = stations[parser.parse_args().station]
    print(f"station {station.name}, blur {station.blur_mm} mm; dip between the lines, * where there are two lines")
    print("diameter   " + "".join(f"{pixel:9.3f}" for pixel in PIXELS_MM) + "  mm a pixel")
    figure = 0.0
    for diameter in DIAMETERS_MM:
        image = tube_image(diameter, station.blur_mm)
        dips = {pixel: dip(image, pixel) for pixel in PIXELS_MM}
        cells = "".join(f"{value:8.2f}{'*' if value >= DIP else ' '}" for value in dips.values())
        print(f"{diameter:5.2f} mm   {cells}")
        if diameter == 1.0:
            figure = dips[0.1]
    finish("double_line", figure, "dip of a 1 mm tube at 0.1 mm", DIP, figure >= DIP)


if __name__ == "__main__":
    main()
