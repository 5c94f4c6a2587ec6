"""The eighty prepared synthetic views on which ours and Keras are compared: written, ingested and prepared as in a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from measuring import tramtrack, watch
from tramtrack.cohort.cohort import load_cohort
from tramtrack.imaging.gallery import prepare_views
from tramtrack.imaging.prepare import read_prepared
from tramtrack.protocol import Prepare

WOMEN, PREVALENCE, SEED = 20, 0.5, 31
SIZE = (512, 256)
FOLDS = {"training": 14, "validation": 3, "test": 3}
"""Women in each fold, four views each: 56, 12 and 12 views."""


def prepared_views(folder: Path) -> pd.DataFrame:
    """A row a view: those of cohort/views.csv and labels.csv, ``fold``, ``label`` (0.0 or 1.0) and ``file`` (prepared, Path).

    Women with and without BAC take turns before the folds are dealt, so that every fold holds both.
    """
    study, cohort, prepared = folder / "study", folder / "cohort", folder / "prepared"
    watch(tramtrack("phantom", "cohort", cohort, "--women", str(WOMEN), "--prevalence", str(PREVALENCE), "--seed", str(SEED)))
    watch(tramtrack("ingest", cohort / "dicom", "--labels", cohort / "labels.csv", "--study", study))
    views = load_cohort(study / "cohort").views
    settings = Prepare(height=SIZE[0], width=SIZE[1])
    prepare_views(views.to_dict("records"), prepared, settings, {"prepare": settings.model_dump(mode="json")})
    women = views.groupby("woman")["bac_woman"].first()
    turns = women.groupby(women).cumcount()
    order = [woman for _, _, woman in sorted(zip(turns, women, women.index, strict=True))]
    fold = dict(zip(order, [name for name, count in FOLDS.items() for _ in range(count)], strict=True))
    return views.assign(
        fold=views["woman"].map(fold),
        label=views["bac_view"].astype(float),
        file=[prepared / f"{view_id}.png" for view_id in views["view_id"]],
    )


def grey(files: list[Path]) -> np.ndarray:
    """Prepared views as float32 (N, H, W), grey values 0 to 65535."""
    return np.stack([read_prepared(file) for file in files]).astype(np.float32)
