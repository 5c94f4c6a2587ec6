"""The segmentation as a source of burden: calibrated like a heat map, sealed like the test fold."""

from __future__ import annotations

import pytest

from tramtrack.evaluation.agreement import spearman
from tramtrack.explain.burden_stage import burden_views, write_burden
from tramtrack.segmentation.burden import measure_segmentation, opened_source
from tramtrack.segmentation.stage import segment_study

pytest.importorskip("monai", reason='the U-Net is MONAI\'s; pip install ".[explain]"')


def test_a_segmentation_is_measured_as_burden_and_its_test_views_once_unsealed(views, geometry, protocol, tmp_path):
    study = tmp_path / "study"
    views.loc[4:15, "fold"] = "validation"  # so many that a fifth can be left out
    about = {"exam": "e", "side": "L", "view": "CC", "age_years": 60.0, "acquired": "", "absent_breast": "R"}
    views = views.assign(**about)
    measured = [burden_views(views, views.iloc[:0], geometry, unsealed) for unsealed in (False, True)]
    assert measure_segmentation(protocol, measured[0][0], geometry, measured[0][1], study) == {}  # there is none yet
    segment_study(views, geometry, protocol, {}, study)
    assert measure_segmentation(protocol, measured[0][0], geometry, measured[0][1], study) == {}
    found = write_burden(study / "results", protocol, measured[0][0]).views
    assert set(found["source"]) == {"segmentation"} and set(found["kind"]) == {"segmentation"}
    assert len(found) == 12 and spearman(found["area"].to_numpy(), found["true_area"].to_numpy()) > 0.8
    assert opened_source(protocol, study) is None
    refused = measure_segmentation(protocol, measured[1][0], geometry, measured[1][1], study)
    assert "its test views are sealed" in refused["segmentation"] and "--unseal" in refused["segmentation"]
    assert len(list((study / "segmentation" / "maps").iterdir())) == 12
    segment_study(views, geometry, protocol, {}, study, unseal=True)
    assert measure_segmentation(protocol, measured[1][0], geometry, measured[1][1], study) == {}
    found = write_burden(study / "results", protocol, measured[1][0])
    test = found.views[found.views["fold"] == "test"]
    assert len(test) == 2 and (test.loc[test["true_area"] > 0, "area"] > 0).all()
    assert found.cost.empty  # no heat map to hold against it
    source = opened_source(protocol, study)
    assert source is not None and source.map_of("v16").shape == (64, 48)
