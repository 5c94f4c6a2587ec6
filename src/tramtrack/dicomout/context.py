"""What all results of one exam share: where they belong, who made them, and identifiers that a repeat gives again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from highdicom.sr import AlgorithmIdentification
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tramtrack.dicomout.sources import SourceImage
from tramtrack.prediction.answer import Answer
from tramtrack.store import text_sha256
from tramtrack.uids import uid

MANUFACTURER = "tramtrack"
SERIES = {
    "report": (9900, "BAC measurement report"),
    "cad": (9901, "BAC mammography CAD"),
    "overlay": (9910, "BAC heat map over the image"),
    "map": (9920, "BAC heat map, raw values"),
    "state": (9930, "BAC heat map outlines"),
    "burden": (9940, "BAC burden"),
}
"""Of each kind of result its series: a number and a description, to which the research-use mark is added. What is of one view
lies in the series of its side (right: one more), since Laterality (0020,0060) belongs to a series."""


@dataclass(frozen=True)
class Context:
    """The ``answer`` of an exam, the images ``sources`` that it is about, the name of the heat maps' ``method``, how their
    burden was ``calibrated``, by run, and whether what counts as calcified may be ``segmented``, which the report refers to."""

    answer: Answer
    sources: tuple[SourceImage, ...]
    method: str = ""
    calibrated: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    segmented: bool = True

    @cached_property
    def identity(self) -> str:
        """What decides every identifier: the study, its images, the runs and how they are read. Never what came out, so that a
        repeat on another machine, whose last digits may differ, names the same objects."""
        kept = self.answer.conformal
        told = {
            "study": str(self.sources[0].header.StudyInstanceUID),
            "images": [str(source.header.SOPInstanceUID) for source in self.sources],
            "runs": [run.model_dump() for run in self.answer.runs],
            "aggregation": self.answer.aggregation,
            "thresholds": [[score.unit, score.side, score.view, score.threshold] for score in self.answer.scores],
            "prevalence": self.answer.probability.prevalence if self.answer.probability else None,
            "conformal": [kept.alpha, kept.calibration_with_bac, kept.calibration_without_bac] if kept else None,
            "burden": {run: None if found is None else dict(found) for run, found in self.calibrated.items()},
            "method": self.method,
            "segmented": self.segmented,
            "tramtrack": self.answer.tramtrack,
        }
        return json.dumps(told, sort_keys=True)

    def uid(self, *parts: str) -> str:
        """The identifier of one thing of this exam's results, such as ("overlay", "L", "MLO")."""
        return uid("tramtrack results", self.identity, *parts)

    @property
    def networks(self) -> str:
        """The networks that answered, each named once."""
        return ", ".join(dict.fromkeys(run.network for run in self.answer.runs))

    @property
    def algorithm(self) -> str:
        """The algorithm's name: tramtrack and the network, or how many runs answered together."""
        runs = self.answer.runs
        return f"tramtrack {runs[0].network}" if len(runs) == 1 else f"tramtrack, {len(runs)} runs together"

    @property
    def weights_sha256(self) -> str:
        """The hash of the run's weights file; of several runs the hash of their hashes, one a line."""
        hashes = [run.weights_file_sha256 for run in self.answer.runs]
        return hashes[0] if len(hashes) == 1 else text_sha256("\n".join(hashes))

    @cached_property
    def runs(self) -> dict[str, str]:
        """By its name each run, with its hashes."""
        return {
            (name := f"{run.network}/{run.variant}/seed-{run.seed}"): (
                f"{name}, {run.weights} weights: weights sha256 {run.weights_file_sha256}, "
                f"protocol sha256 {run.protocol_sha256}"
            )
            for run in self.answer.runs
        }

    @property
    def parameters(self) -> list[str]:
        """What identifies the algorithm beside its name and version, one text each: every run with its hashes, and its use."""
        return [*self.runs.values(), f"views to breast and woman: {self.answer.aggregation}", self.answer.use]

    def identification(self, parameters: Sequence[str] = ()) -> AlgorithmIdentification:
        """The algorithm by TID 4019."""
        family = codes.DCM.ArtificialIntelligence
        return AlgorithmIdentification(self.algorithm, self.answer.tramtrack, parameters=parameters or None, family=family)

    def place(self, kind: str, number: int, *of: str) -> dict[str, Any]:
        """Series, instance and equipment of one result, as highdicom takes them; ``of`` is the view that it is of, if one."""
        series, description = SERIES[kind]
        return {
            "series_instance_uid": self.uid("series", kind, *of[:1]),
            "series_number": series + (of[:1] == ("R",)),
            "series_description": f"{description} (research use only)",
            "sop_instance_uid": self.uid(kind, *of),
            "instance_number": number,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.algorithm[:64],
            "software_versions": self.answer.tramtrack,
            "device_serial_number": self.weights_sha256,
        }

    def spacing_mm(self, source: SourceImage) -> float | None:
        """Millimetres between a view's pixels in the breast's plane, as the answer has it, or None."""
        of_view = [one for one in self.answer.sources if (one.side, one.view) == (source.side, source.view)]
        return of_view[0].spacing_mm if of_view else None

    def finish(self, result: Dataset, sources: Sequence[SourceImage], side: str = "") -> Dataset:
        """Carry on what must not be lost: side and orientation, that an image is synthetic, or was compressed with loss.

        ``side`` is that of the series, where nothing else in the object tells it.
        """
        if side:
            result.Laterality = side
        if "Rows" in result:
            result.PatientOrientation = sources[0].orientation or None
        if any(str(source.header.get("SyntheticData", "")) == "YES" for source in sources):
            result.SyntheticData = "YES"
        for item in (*result.get("DimensionOrganizationSequence", ()), *result.get("DimensionIndexSequence", ())):
            item.DimensionOrganizationUID = self.uid("dimensions of", str(result.SOPInstanceUID))
        lossy = [source.header for source in sources if str(source.header.get("LossyImageCompression", "")) == "01"]
        if lossy and "Rows" in result:
            for name in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
                if name in lossy[0]:
                    setattr(result, name, lossy[0][name].value)
        return result
