"""DICOM results of an exam: conforming, in its study, with right references, the same again, and read back as they were."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from answers import RUN, WEIGHTS, answer, burden
from mammogram import write
from small_results import SCALE, complaints, exam, hot_at, items
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.inspect import Candidate, inspect_file
from tramtrack.dicomout.names import WRITTEN, kinds_of
from tramtrack.dicomout.write import ViewResult, write_results
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.prediction.answer import GUARANTEE, RESEARCH_USE

SETTINGS = PhantomSettings(rows=320, columns=240, pitch_mm=0.8)
SCORES = {("L", "CC"): 0.8, ("L", "MLO"): 0.3, ("R", "CC"): 0.7, ("R", "MLO"): 0.2}
MEASURED = burden({("L", "CC"): 12.5, ("L", "MLO"): 8.0, ("R", "CC"): 0.0, ("R", "MLO"): 0.0})
LONG = MEASURED.views[0].model_copy(update={"length": 25.0, "share": 0.025})
BURDEN = (MEASURED.model_copy(update={"views": (LONG, *MEASURED.views[1:])}),)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    out = tmp_path_factory.mktemp("exam")
    write_cohort(out, women=1, prevalence=1, seed=9101, workers=1, settings=SETTINGS)
    return {(file.stem[0], file.stem[1:]): file for file in sorted((out / "dicom").rglob("*.dcm"))}


def views_of(files: dict[tuple[str, str], Path]) -> dict[tuple[str, str], ViewResult]:
    """Maps that are hottest at another place in each view; calcified pixels in the left breast alone."""
    views = {}
    for number, (place, file) in enumerate(files.items()):
        heatmap = hot_at(100 + 20 * number, 60)
        calcified = {RUN: heatmap > 0.7 if place[0] == "L" else np.zeros_like(heatmap, dtype=bool)}
        views[place] = ViewResult(file, heatmap, SCALE, calcified)
    return views


@pytest.fixture(scope="module")
def written(files: dict[tuple[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("results")
    done = write_results(out, answer(SCORES, burden=BURDEN), views_of(files), "grad-cam++")
    assert done.left_out == {}
    return {file.name: file for file in done.files}


def texts(dataset: Dataset) -> str:
    return "\n".join(str(e.value) for item in items(dataset) for e in item if e.VR not in ("SQ", "OW", "OB", "OF"))


def test_dciodvfy_finds_nothing(written: dict[str, Path]) -> None:
    assert len(written) == 4 * 3 + 2 + 2 and set(written) <= set(WRITTEN)
    for file in written.values():
        assert complaints(file) == [], file.name


@pytest.mark.parametrize(("name", "attribute"), [("L_CC.map.dcm", "FrameOfReferenceUID"), ("bac.cad.dcm", "CompletionFlag")])
def test_dciodvfy_would_complain(written: dict[str, Path], tmp_path: Path, name: str, attribute: str) -> None:
    dataset = pydicom.dcmread(written[name])
    delattr(dataset, attribute)
    dataset.save_as(tmp_path / name)
    assert any(line.startswith("Error") for line in complaints(tmp_path / name))


def test_same_study_new_series_and_references_that_lead_somewhere(
    files: dict[tuple[str, str], Path], written: dict[str, Path]
) -> None:
    sources = {place: pydicom.dcmread(file, stop_before_pixels=True) for place, file in files.items()}
    results = {name: pydicom.dcmread(file) for name, file in written.items()}
    first = sources["L", "CC"]
    known = {str(d.SOPInstanceUID): str(d.SOPClassUID) for d in (*sources.values(), *results.values())}
    assert len(known) == 4 + len(results)
    series: dict[str, set[str]] = {}
    for name, result in results.items():
        for attribute in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "AccessionNumber"):
            assert result[attribute].value == first[attribute].value, (name, attribute)
        assert "InstitutionName" not in result and result.SyntheticData == "YES"
        assert result.SeriesInstanceUID != first.SeriesInstanceUID
        series.setdefault(result.SeriesInstanceUID, set()).add(name.split(".")[1] + str(result.get("Laterality", "")))
        referred = [item for item in items(result) if "ReferencedSOPInstanceUID" in item]
        assert referred and all(known[i.ReferencedSOPInstanceUID] == i.ReferencedSOPClassUID for i in referred), name
        if name.startswith(("L", "R")):
            side, view = name.split(".")[0].split("_")
            assert {i.ReferencedSOPInstanceUID for i in referred} == {sources[side, view].SOPInstanceUID}, name
    assert all(len(kinds) == 1 for kinds in series.values()), series  # a series holds one kind of one side


def test_each_says_what_made_it_and_what_for(written: dict[str, Path]) -> None:
    for name, file in written.items():
        said = texts(pydicom.dcmread(file))
        assert WEIGHTS in said and "tramtrack vgg16" in said and "0.1.0" in said, name
        assert "research use only" in said.lower(), name
    for name in ("bac.sr.dcm", "bac.cad.dcm"):
        assert RESEARCH_USE in texts(pydicom.dcmread(written[name]))


def test_results_beside_their_exam_are_no_views_of_it(files: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """Not even the picture of an empty map, which is as grey as its mammogram."""
    empty = {place: ViewResult(file, np.zeros((320, 240), np.float32), SCALE, {}) for place, file in files.items()}
    for file in write_results(tmp_path / "exam", answer(SCORES), empty, "grad-cam++").files:
        found = inspect_file(Candidate(str(file))).get("exclusion")
        assert found, file.name
        assert not file.name.endswith("sc.dcm") or found["reason"] == Reason.REPORT_SCREEN


def test_a_repeat_gives_the_same_identifiers_and_other_weights_give_others(
    files: dict[tuple[str, str], Path], written: dict[str, Path], tmp_path: Path
) -> None:
    def identifiers(folder: Path, views: dict[tuple[str, str], ViewResult], **changes: Any) -> dict[str, tuple[str, str]]:
        made = answer({place: SCORES[place] for place in views}, **changes)
        done = write_results(folder, made, views, "grad-cam++")
        return {
            file.name: (pydicom.dcmread(file).SOPInstanceUID, pydicom.dcmread(file).SeriesInstanceUID) for file in done.files
        }

    before = {name: (pydicom.dcmread(f).SOPInstanceUID, pydicom.dcmread(f).SeriesInstanceUID) for name, f in written.items()}
    assert identifiers(tmp_path / "again", views_of(files)) == before
    one = {("L", "CC"): views_of(files)["L", "CC"]}
    alone = identifiers(tmp_path / "alone", one)
    other = answer(SCORES).runs[0].model_copy(update={"weights_file_sha256": "ef" * 32})
    calibrated = {"mobilenetv2/last-conv/seed-0": {"threshold": 0.5, "area_factor": 1.2}}
    fitted = write_results(tmp_path / "fitted", answer({("L", "CC"): SCORES["L", "CC"]}), one, "grad-cam++", calibrated)
    assert not {str(pydicom.dcmread(file).SOPInstanceUID) for file in fitted.files} & {str(sop) for sop, _ in alone.values()}
    changed = identifiers(tmp_path / "other", one, runs=(other,))
    assert set(changed) == set(alone) and len(alone) == 6
    sets = [{uid for pair in found.values() for uid in pair} for found in (before, alone, changed)]
    assert len(set().union(*sets)) == sum(map(len, sets)) == (16 + 9) + 2 * (6 + 6)  # instances and series


def test_pixels_come_back_as_they_were(files: dict[tuple[str, str], Path], written: dict[str, Path]) -> None:
    views = views_of(files)
    for (side, view), result in views.items():
        parametric = highdicom.imread(written[f"{side}_{view}.map.dcm"])
        assert np.array_equal(np.frombuffer(parametric.FloatPixelData, "<f4").reshape(320, 240), result.heatmap)
        mapping = parametric.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130403"
        measures = parametric.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert list(measures.PixelSpacing) == [0.8, 0.8]
        if result.calcified[RUN].any():
            segmentation = highdicom.seg.segread(written[f"{side}_{view}.seg.dcm"])
            assert np.array_equal(segmentation.pixel_array.squeeze().astype(bool), result.calcified[RUN])
            assert segmentation.get_segment_description(1).segmented_property_type.value == "129759000"
        picture = pydicom.dcmread(written[f"{side}_{view}.sc.dcm"])
        colours = picture.pixel_array
        assert colours.shape[0] > 320 and colours.shape[1:] == (240, 3) and picture.BurnedInAnnotation == "NO"
        hot = np.unravel_index(int(np.argmax(result.heatmap)), (320, 240))
        assert np.ptp(colours[hot].astype(int)) > 50  # coloured where the map is hot
        assert np.ptp(colours[5, 235].astype(int)) == 0  # and bare where it is not
        assert colours[320:].max() > 200  # the words below


def test_the_report_is_read_back(files: dict[tuple[str, str], Path], written: dict[str, Path]) -> None:
    report = highdicom.sr.srread(written["bac.sr.dcm"])
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    groups = {group[0].ContentSequence[0].value: group for group in report.content.get_image_measurement_groups()}
    assert {name for name in groups if "burden" not in name} == {
        "view L CC", "view L MLO", "view R CC", "view R MLO", "breast L", "breast R", "woman"
    }  # fmt: skip
    values = {m.name.value: m.value for m in groups["view R MLO"].get_measurements()}
    assert values == {"score": 0.2, "threshold": 0.5}
    assert {m.name.value: m.value for m in groups["woman"].get_measurements()} == {
        "score": 0.8, "threshold": 0.5, "probability": 0.6, "prevalence": 0.13, "alpha": 0.1
    }  # fmt: skip
    calls = {
        name: [e.value.meaning for e in group.get_qualitative_evaluations() if e.name.value == "129759000"]
        for name, group in groups.items()
    }
    assert calls["view L CC"] == calls["woman"] == ["Present"] and calls["view R MLO"] == ["Absent"]
    (finding,) = (e.value for e in groups["woman"].get_qualitative_evaluations() if e.name.value == "conformal")
    assert finding.meaning == "BAC likely" and GUARANTEE.format(alpha=10) in texts(report)
    assert "By 20 women with BAC and 40 without who were kept for this." in texts(report)
    measured = {
        group[0].ContentSequence[0].value: {m.name.value: (m.value, m.unit.value) for m in group.get_measurements()}
        for group in report.content.get_planar_roi_measurement_groups()
    }
    assert measured == {
        f"burden L CC {RUN}": {"112196": (12.5, "mm2"), "410668003": (25.0, "mm"), "112198": (2.5, "%")},
        f"burden L MLO {RUN}": {"112196": (8.0, "mm2"), "112198": (1.0, "%")},
    }
    assert "Its percentage is that of the breast's area in the view." in texts(report)
    assert [m.value for m in groups[f"burden R CC {RUN}"].get_measurements()] == [0.0, 1.0]
    whole = {m.name.value: m.value for m in groups[f"burden woman {RUN}"].get_measurements()}
    assert whole == {"112196": 20.5, "area-low": 10.25, "area-high": 41.0}


def test_the_cad_report_is_read_back(files: dict[tuple[str, str], Path], written: dict[str, Path]) -> None:
    document = pydicom.dcmread(written["bac.cad.dcm"])
    summary = document.ContentSequence[2]
    assert summary.ConceptCodeSequence[0].CodeValue == "111242"
    found = [item.ContentSequence[1] for item in summary.ContentSequence if item.ValueType == "CONTAINER"]
    assert len(found) == 2  # one for each view that is called positive
    for finding, place, row in zip(found, (("L", "CC"), ("R", "CC")), (100, 140), strict=True):
        centre, outline = (item for item in finding.ContentSequence if item.ValueType == "SCOORD")
        assert list(centre.GraphicData) == [60.5, row + 0.5]
        _, library, image = centre.ContentSequence[0].ReferencedContentItemIdentifier
        entry = document.ContentSequence[library - 1].ContentSequence[image - 1]
        source = pydicom.dcmread(files[place], stop_before_pixels=True)
        assert entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        points = np.array(outline.GraphicData).reshape(-1, 2)
        radius = np.sqrt(400 * np.log(1 / (0.5 * SCALE)))  # where the map is half of the value shown brightest
        assert np.allclose(np.hypot(*(points - [60.5, row + 0.5]).T), radius, atol=1.5)
    by_value = without_references(document)
    content = highdicom.sr.ContentSequence.from_sequence([by_value], is_root=True)
    assert content[0].name.value == "111036"
    assert [item.value.value for item in content[0].ContentSequence if item.value_type.value == "CODE"][1:] == [
        "111242", "111222", "111225"
    ]  # fmt: skip


def without_references(item: Dataset) -> Dataset:
    """A content tree without its items by reference, which highdicom cannot read; images get the name that it asks for."""
    copy = Dataset()
    for element in item:
        if element.keyword in ("ValueType", "RelationshipType", "ContinuityOfContent", "ContentTemplateSequence") or (
            (element.tag.group == 0x0040 and element.keyword != "ContentSequence") or element.tag.group in (0x0008, 0x0070)
        ):
            copy.add(element)
    children = [child for child in item.get("ContentSequence", []) if "ReferencedContentItemIdentifier" not in child]
    if children:
        copy.ContentSequence = [without_references(child) for child in children]
    return copy


def test_outlines_are_drawn_on_the_image(files: dict[tuple[str, str], Path], written: dict[str, Path]) -> None:
    state = pydicom.dcmread(written["L_CC.pr.dcm"])
    assert state.PresentationLUTShape == "IDENTITY"
    assert state.SoftcopyVOILUTSequence[0].WindowWidth == 4096
    annotation = state.GraphicAnnotationSequence[0]
    points = np.array(annotation.GraphicObjectSequence[0].GraphicData).reshape(-1, 2)
    assert np.array_equal(points[0], points[-1]) and np.allclose(points.mean(axis=0), [60.5, 100.5], atol=2)
    assert RESEARCH_USE in annotation.TextObjectSequence[0].UnformattedTextValue


def test_without_a_spacing_there_are_pixels_and_no_millimetres(tmp_path: Path) -> None:
    heatmap = hot_at(80, 40, (160, 120))
    files = exam(tmp_path / "exam", PatientOrientation=["A", "R"])
    runs = {RUN: heatmap > 0.5, "xception/last-conv/seed-0": heatmap > 2, "mobilenet/last-conv/seed-0": heatmap > 0.9}
    views = {("R", "MLO"): ViewResult(files["R", "MLO"], heatmap, SCALE, runs)}
    measured = tuple(burden({("R", "MLO"): 100.0 * number}, "pixels", run) for number, run in enumerate(runs))
    made = answer({("R", "MLO"): 0.7}, spacing_mm=None, synthetic=False, burden=measured)
    done = write_results(tmp_path / "out", made, views, "grad-cam++")
    assert done.left_out == {}
    for file in done.files:
        dataset = pydicom.dcmread(file)
        assert "SyntheticData" not in dataset and not [line for line in complaints(file) if line.startswith("Error")], file.name
        units = {i.CodeValue for i in items(dataset) if i.get("CodingSchemeDesignator") == "UCUM"}
        assert not units & {"mm", "mm2", "um"}, file.name
        assert not any("PixelSpacing" in item for item in items(dataset)), file.name
    segmentation = highdicom.seg.segread(tmp_path / "out" / "R_MLO.seg.dcm")
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == [
        f"Calcified by {RUN}", "Calcified by mobilenet/last-conv/seed-0"
    ]  # fmt: skip
    assert [int(frame.sum()) for frame in segmentation.pixel_array] == [int(runs[RUN].sum()), int((heatmap > 0.9).sum())]
    areas = {
        group[0].ContentSequence[0].value: [m.value for m in group.get_measurements()]
        for group in highdicom.sr.srread(tmp_path / "out" / "bac.sr.dcm").content.get_planar_roi_measurement_groups()
    }
    assert areas == {f"burden R MLO {RUN}": [0.0, 1.0], "burden R MLO mobilenet/last-conv/seed-0": [200.0, 1.0]}


def test_the_report_says_how_far_several_runs_lie_apart(files: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    made = answer({("R", "CC"): 0.7})
    apart = {"by_run": (0.6, 0.8), "spread": 0.2, "sd": 0.2 / 2**0.5}
    told = made.model_copy(
        update={"runs": made.runs * 2, "scores": tuple(scored.model_copy(update=apart) for scored in made.scores)}
    )
    view = {("R", "CC"): ViewResult(files["R", "CC"], hot_at(80, 40), SCALE)}
    done = write_results(tmp_path, told, view, "grad-cam++")
    assert not [line for file in done.files for line in complaints(file)]
    said = "2 runs answered together; by themselves they say 0.600 to 0.800 (standard deviation 0.141)."
    assert said in texts(pydicom.dcmread(tmp_path / "bac.sr.dcm")) and not made.disagreement()


def test_no_threshold_no_call_and_no_cad_report(files: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    views = {("R", "CC"): ViewResult(files["R", "CC"], hot_at(80, 40), SCALE)}
    done = write_results(tmp_path, answer({("R", "CC"): 0.7}, threshold=None), views, "grad-cam++")
    assert set(done.left_out) == {"bac.cad.dcm"} and "no threshold" in done.left_out["bac.cad.dcm"]
    report = pydicom.dcmread(tmp_path / "bac.sr.dcm")
    assert "No call by woman: no woman with BAC" in texts(report) and "Present" not in texts(report)


def test_a_negative_exam_is_said_to_be_without_findings(files: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    views = {("L", "CC"): ViewResult(files["L", "CC"], hot_at(80, 40), SCALE)}
    done = write_results(tmp_path, answer({("L", "CC"): 0.1}), views, "occlusion")
    cad = pydicom.dcmread(tmp_path / "bac.cad.dcm")
    assert cad.ContentSequence[2].ConceptCodeSequence[0].CodeValue == "111241" and complaints(tmp_path / "bac.cad.dcm") == []
    assert done.left_out == {}
    mapping = pydicom.dcmread(tmp_path / "L_CC.map.dcm").SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130404"  # a saliency map


def test_a_map_of_zeros_marks_nothing_and_says_so(files: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """The other positive view keeps its mark, on its own image; where no view has one, no report says "no findings"."""
    places = (("L", "CC"), ("R", "CC"))
    maps = (np.zeros((320, 240), np.float32), hot_at(140, 60))
    views = {place: ViewResult(files[place], heatmap, SCALE) for place, heatmap in zip(places, maps, strict=True)}
    assert write_results(tmp_path, answer({place: SCORES[place] for place in places}), views, "grad-cam++").left_out == {}
    cad = pydicom.dcmread(tmp_path / "bac.cad.dcm")
    (impression,) = (item for item in cad.ContentSequence[2].ContentSequence if item.ValueType == "CONTAINER")
    centre = next(item for item in impression.ContentSequence[1].ContentSequence if item.ValueType == "SCOORD")
    assert list(centre.GraphicData) == [60.5, 140.5]
    assert list(centre.ContentSequence[0].ReferencedContentItemIdentifier) == [1, 2, 2]
    assert "not marked, since the heat map is empty: L CC." in texts(cad) and complaints(tmp_path / "bac.cad.dcm") == []
    done = write_results(tmp_path, answer({places[0]: 0.8}), {places[0]: views[places[0]]}, "grad-cam++")
    assert "no place to mark" in done.left_out["bac.cad.dcm"] and not (tmp_path / "bac.cad.dcm").exists()


def test_without_heat_maps_the_report_alone_is_written(files: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    (tmp_path / "R_CC.sc.dcm").write_bytes(b"of an earlier exam")
    done = write_results(tmp_path, answer(SCORES), {place: ViewResult(file) for place, file in files.items()}, "")
    assert [file.name for file in done.files] == ["bac.sr.dcm"] == [file.name for file in tmp_path.iterdir()]
    assert set(done.left_out.values()) == {"no heat map was made"} and len(done.left_out) == 13


def test_the_kinds_that_are_wanted_are_written_and_nothing_refers_to_the_others(
    files: dict[tuple[str, str], Path], written: dict[str, Path], tmp_path: Path
) -> None:
    made = answer(SCORES, burden=BURDEN)
    done = write_results(tmp_path, made, views_of(files), "grad-cam++", kinds=kinds_of("sr, cad"))
    assert [file.name for file in done.files] == ["bac.sr.dcm", "bac.cad.dcm"] and done.left_out == {}
    report = pydicom.dcmread(tmp_path / "bac.sr.dcm")
    known = {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files.values()}
    referred = {str(item.ReferencedSOPInstanceUID) for item in items(report) if "ReferencedSOPInstanceUID" in item}
    assert referred == known and complaints(tmp_path / "bac.sr.dcm") == []
    assert "12.5" in texts(report), "the area stands there all the same"
    assert report.SOPInstanceUID != pydicom.dcmread(written["bac.sr.dcm"]).SOPInstanceUID, "it is another report"


def test_what_cannot_be_written_is_refused(files: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    picture = tmp_path / "L_CC.png"
    with pytest.raises(UsageError, match="a picture without one"):
        write_results(tmp_path, answer(SCORES), {("L", "CC"): ViewResult(picture)}, "")
    one, other = exam(tmp_path / "a", exam="1.2.3"), exam(tmp_path / "b", exam="1.2.4")
    two = {("L", "CC"): one["L", "CC"], ("L", "MLO"): other["L", "MLO"]}
    with pytest.raises(TramtrackError, match="found 2 values of StudyInstanceUID"):
        write_results(tmp_path, answer(SCORES), {place: ViewResult(file) for place, file in two.items()}, "")
    with pytest.raises(TramtrackError, match=re.escape("320 x 240 pixels, but its heat map has (10, 10)")):
        small = {place: ViewResult(file, np.ones((10, 10), np.float32), 1.0) for place, file in files.items()}
        write_results(tmp_path, answer(SCORES), small, "grad-cam++")
    bare = pydicom.dcmread(two["L", "CC"])
    bare.StudyInstanceUID = ""
    with pytest.raises(TramtrackError, match="has no StudyInstanceUID"):
        write_results(tmp_path, answer(SCORES), {("L", "CC"): ViewResult(write(bare, tmp_path / "bare.dcm"))}, "")
    assert not list(tmp_path.glob("*.sr.dcm"))
