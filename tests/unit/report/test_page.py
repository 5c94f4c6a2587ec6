"""The report says what the files say, stamps what is synthetic, escapes what is odd, and loads nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from html_page import Page
from tramtrack import store
from tramtrack.cohort.cohort import load_cohort
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Intake
from tramtrack.report import pictures
from tramtrack.report.flow import count_flow
from tramtrack.report.limits import limits
from tramtrack.report.page import write_report
from tramtrack.report.reading import read_material


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory, study_folder: ModuleType) -> str:
    study = study_folder.fabricate(tmp_path_factory.mktemp("study"))
    return write_report(*study.arguments()).read_text(encoding="utf-8")


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    loading = {"src", "href", "xlink:href", "data", "action", "srcset", "poster", "background"}
    for tag, attributes in Page(html).tags:
        for name in loading & attributes.keys():
            assert str(attributes[name]).startswith(("#", "data:")), (tag, name, str(attributes[name])[:80])
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)'\"]*)", html))
    assert "default-src 'none'" in html
    outside = set(re.findall(r"https?://[^\s\"'<>]+", html))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_comparison_table_holds_the_scores_and_the_control_apart(html: str) -> None:
    rows = Page(html).rows["comparison"]
    assert rows[0][0] == "Network"
    assert [" ".join(row[0].split()) for row in rows[1:]] == [
        "VGG16",
        "MobileNetV2 then on <dogs>",
        "Control with random weights. Never ranked beside pretrained networks.",
        "Xception random weights",
    ]
    assert all(re.fullmatch(r"[01]\.\d\d \([01]\.\d\d to [01]\.\d\d\)", row[1].strip()) for row in (rows[1], rows[2], rows[4]))


def test_weights_that_saw_more_than_imagenet_say_so_in_their_row(html: str) -> None:
    names = [row[0].strip() for row in Page(html).rows["comparison"]]
    assert names[1] == "VGG16"
    assert re.fullmatch(r"MobileNetV2\s*then on <dogs>", names[2])


def test_the_label_table_is_named(html: str) -> None:
    assert "labels &lt;1&gt;.csv" in html and "efefefefefef" in html


@pytest.mark.usefixtures("few_figures")
def test_score_is_the_one_in_the_file(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path)
    scores = pd.read_csv(tmp_path / "results" / "scores.csv")
    auc = scores.query("network == 'vgg16' and fold == 'test' and unit == 'woman' and metric == 'auc_roc'").iloc[0]
    row = Page(write_report(*study.arguments()).read_text("utf-8")).rows["comparison"][1]
    assert row[1].strip() == f"{auc['estimate']:.2f} ({auc['low']:.2f} to {auc['high']:.2f})"


def test_the_readers_agreement_stands_beside_the_networks(study_folder: ModuleType, tmp_path: Path) -> None:
    study = study_folder.fabricate(tmp_path / "study")
    table = "unit,measure,readers,items,women,agreement,kappa,low,high,reason\n"
    table += 'view,Cohen,"<a>, b",40,10,0.9,0.781,0.6,0.9,\n'
    table += 'woman,Cohen,"<a>, b",9,9,1.0,,,,all readers give every item the same label\n'
    table += 'breast,Cohen,"<a>, b",9,9,1.0,1.0,,,no interval: 9 women\n'
    (study.folder / "cohort" / "readers.csv").write_text(table)
    html = write_report(*study.arguments()).read_text(encoding="utf-8")
    assert Page(html).rows["readers"][1:] == [
        ["<a>, b", "view", "Cohen", "40", "90.0\u00a0%", "0.78 (0.60 to 0.90)"],
        ["<a>, b", "woman", "Cohen", "9", "100.0\u00a0%", "Undefined: all readers give every item the same label"],
        ["<a>, b", "breast", "Cohen", "9", "100.0\u00a0%", "1.00 (no interval: 9 women)"],
    ]
    assert html.index('id="comparison"') < html.index('id="readers"') < html.index('id="h-cohort"')


def test_left_out_network_has_its_reason(html: str) -> None:
    assert "<dt>VGG19</dt><dd>no pretrained weights could be had; name a folder by --weights-dir</dd>" in html


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_is_stamped_if_and_only_if_it_is(tmp_path: Path, study_folder: ModuleType, synthetic: bool) -> None:
    html = write_report(*study_folder.fabricate(tmp_path / "study", synthetic=synthetic).arguments()).read_text("utf-8")
    assert ('data-stamp="synthetic"' in html) is synthetic
    assert ('<div class="band"' in html) is synthetic
    assert bool(re.search(r">\s*synthetic\s*</text>", html)) is synthetic
    if not synthetic:
        assert "ynthetic" not in html[html.index("<body") :]


def test_no_excluded_path_that_repeats_a_name_is_printed_and_warnings_are(study_folder: ModuleType, tmp_path: Path) -> None:
    study = study_folder.fabricate(tmp_path / "study")
    cohort = study.folder / "cohort"
    kept = pd.read_csv(cohort / "views.csv").iloc[0]
    telling = "/archive/ROSSI_MARIA/1.dcm"
    repeated = f"{telling},repeated view,the later image {kept['file']} of the same view is kept\n"
    copy = f"in/copy.dcm,duplicate SOP instance,the same SOP instance as {telling}\n"
    (cohort / "exclusions.csv").write_text(f"file,reason,detail\n{repeated}{copy}")
    (cohort / "identifying.csv").write_text(f"file,attributes\n{telling},PatientName; file path\n")
    (cohort / "warnings.csv").write_text("kind,what\npredicts the label,<vendor>: AUC 0.91\n" + "look-alike images,x\n" * 41)
    folder, protocol, _, *others = study.arguments()
    html = write_report(folder, protocol, load_cohort(cohort), *others).read_text(encoding="utf-8")
    assert Page(html).rows["exclusions"][1:] == [
        ["exclusions.csv, line 2", "repeated view", f"the later image {kept['view_id']} of the same view is kept"],
        ["in/copy.dcm", "duplicate SOP instance", "the same SOP instance as exclusions.csv, line 2"],
    ]
    assert "ROSSI" not in html
    assert "1 × predicts the label" in html and "&lt;vendor&gt;: AUC 0.91" in html
    assert "41 × look-alike images" in html and "and 1 more, in cohort/warnings.csv" in html


def test_odd_names_stay_text(html: str, study_folder: ModuleType) -> None:
    page = Page(html)
    assert study_folder.ODD_WOMAN not in html and study_folder.ODD_FILE not in html
    assert "&lt;script&gt;document.title" in html
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert ["in/" + study_folder.ODD_FILE, "unreadable", "cut <b>off</b>"] in page.rows["exclusions"]
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]


@pytest.mark.usefixtures("few_figures")
def test_undefined_score_shows_its_reason(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path, one_class=True)
    scores = pd.read_csv(tmp_path / "results" / "scores.csv")
    found = scores.query("network == 'vgg16' and fold == 'test' and unit == 'woman' and metric == 'auc_roc'").iloc[0]
    row = Page(write_report(*study.arguments()).read_text("utf-8")).rows["comparison"][1]
    assert found["reason"] and row[1].strip() == f"Undefined: {found['reason']}"


def test_counts_add_up(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path)
    flow = count_flow(read_material(*study.arguments()))
    assert flow.problems == []
    assert flow.files == flow.views + flow.excluded == 103
    assert flow.women == sum(fold.women for fold in flow.folds) == 24
    assert flow.analysed_views == sum(fold.views for fold in flow.folds) == 96
    assert (flow.later_exams, flow.later_views) == (1, 4)
    assert flow.reasons == {"not an image file": 2, "unreadable": 1}
    assert {fold.name: fold.women for fold in flow.folds} == {
        "training": 8, "validation": 6, "test": 6, "dropped": 2, "unlabelled": 2,
    }  # fmt: skip


@pytest.mark.parametrize("which", ["first", "last"])
def test_the_page_names_the_exam_that_is_analysed(tmp_path: Path, study_folder: ModuleType, which: str) -> None:
    folder, protocol, *others = study_folder.fabricate(tmp_path).arguments()
    chosen = protocol.model_copy(update={"intake": Intake(analysed_exam=which)})
    text = write_report(folder, chosen, *others).read_text("utf-8")
    assert f"of a woman with several, the {which} is analysed" in text


def test_table_of_folds_adds_up(html: str) -> None:
    *folds, total = [[cell.strip() for cell in row] for row in Page(html).rows["folds"][1:]]
    for column in (1, 2, 3, 5, 6):
        assert sum(int(row[column]) for row in folds) == int(total[column])


@pytest.mark.usefixtures("few_figures")
def test_counts_that_do_not_add_up_are_said(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path)
    store.write_manifest(tmp_path / "cohort" / "manifest.json", {"stage": "ingest"}, {"files": 104})
    html = write_report(*study.arguments()).read_text("utf-8")
    assert "The counts do not add up. files seen: 104, but views and excluded files: 103." in html


@pytest.mark.usefixtures("few_figures")
def test_second_look_is_said(tmp_path: Path, html: str, study_folder: ModuleType) -> None:
    assert "The test fold was scored once." in html
    twice = write_report(*study_folder.fabricate(tmp_path, looks=2).arguments()).read_text("utf-8")
    assert "The test fold was looked at 2 times." in twice
    assert "An untouched test" in twice and len(Page(twice).rows["looks"]) == 3


@pytest.mark.usefixtures("few_figures")
def test_sealed_study_reports_validation_and_says_so(tmp_path: Path, study_folder: ModuleType) -> None:
    html = write_report(*study_folder.fabricate(tmp_path, unseal=False).arguments()).read_text("utf-8")
    assert "The test fold is sealed. All figures below are of the validation fold" in html
    assert "No heat maps of these runs were made." in html


def test_setting_that_departs_from_the_preset_is_ours(html: str) -> None:
    rows = {row[0].strip(): row for row in Page(html).rows["protocol"]}
    assert rows["split.training"][1].strip() == "0.5preset 0.7" and rows["split.training"][2] == "ours"
    assert rows["transfer.policy"][2] == "paper"
    assert rows["prepare.height"][2] == "unverified"


def test_same_files_give_the_same_report(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path)
    first = write_report(*study.arguments()).read_bytes()
    assert write_report(*study.arguments()).read_bytes() == first


def test_unevaluated_study_has_no_report(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path)
    (tmp_path / "results" / "summary.json").unlink()
    with pytest.raises(TramtrackError, match="nothing is evaluated yet"):
        write_report(*study.arguments())


def test_limits_follow_from_the_facts(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path)
    material = read_material(*study.arguments())
    found = dict(limits(material, count_flow(material)))
    assert "The images are synthetic." in found["Anything about real mammograms"]
    assert found["Performance in screening"].startswith("The cohort is enriched: 3 of 6 women in the test fold have BAC")
    assert found["Exact figures"].startswith("The test fold holds 3 women with BAC and 3 without.")
    assert found["How much luck there was in training"].startswith("Each network was trained once (seed 0).")
    assert "409,600 weights in MobileNetV2 and 2,359,808 in VGG16, 5.8 times" in found["Whether the architecture decided"]
    assert found["What batch normalisation did"].startswith("MobileNetV2: ")
    assert "VGG16 has no such layer." in found["What batch normalisation did"]
    assert found["Women without a label"].startswith("2 women")
    assert "An untouched test" not in found


@pytest.mark.parametrize(
    ("transfer", "weights", "normalisation"),
    [
        (
            {"batchnorm": "adapt"},
            "trains the last convolution",
            "MobileNetV2: the batch normalisation got its statistics from the",
        ),
        (
            {"policy": "full", "batchnorm": "train"},
            "policy full trains the whole",
            "MobileNetV2: the batch normalisation learns",
        ),
        ({"policy": "equal-slice"}, "", "MobileNetV2: the batch normalisation keeps its statistics from photographs"),
    ],
)
def test_limits_speak_of_the_protocol_s_own_transfer(transfer, weights, normalisation, tmp_path, study_folder) -> None:
    material = read_material(*study_folder.fabricate(tmp_path).arguments())
    protocol = material.protocol.model_copy(update={"transfer": material.protocol.transfer.model_copy(update=transfer)})
    found = dict(limits(replace(material, protocol=protocol), count_flow(material)))
    assert weights in found.get("Whether the architecture decided", "")
    assert found["What batch normalisation did"].startswith(normalisation)
    assert ("Whether the architecture decided" in found) == bool(weights)


@pytest.mark.usefixtures("few_figures")
def test_pictures_shrink_until_they_fit(tmp_path: Path, study_folder: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_folder.fabricate(tmp_path)
    large = len(write_report(*study.arguments()).read_bytes())
    monkeypatch.setattr(pictures, "HEIGHTS", (64, 16))
    monkeypatch.setattr(pictures, "BUDGET_BYTES", 10_000)
    assert len(write_report(*study.arguments()).read_bytes()) < large
