"""A new exam: the same scores as in the study, what it is flagged for, and what gets no score."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pydicom
import pytest
import safetensors.numpy
from PIL import Image

import tramtrack as tt
from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.explain.place import to_original
from tramtrack.imaging.gallery import load_geometry
from tramtrack.network.build import build
from tramtrack.prediction.answer import RESEARCH_USE, Answer
from tramtrack.prediction.flags import flags_of_spread
from tramtrack.prediction.panel import load_panel
from tramtrack.prediction.site_file import read_signed

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1)


def drawn(variable, shape, generator):
    """A kernel whose layer keeps the size of what goes through it; BatchNorms that do nothing."""
    inputs = np.prod(shape[:2]) if shape[-1] == 1 else np.prod(shape[:-1])
    if "kernel" in variable:
        return generator.normal(0, (2 / inputs) ** 0.5, shape).astype(np.float32)
    return np.full(shape, float(variable in ("gamma", "moving_variance")), np.float32)


@pytest.fixture(scope="module")
def study(ingested, tiny_protocol, command, tmp_path_factory):
    """A study of MobileNetV2 with two seeds, its test fold scored; its weights file holds large random numbers, so that
    scores differ from view to view."""
    top = tmp_path_factory.mktemp("predict")
    folder, weights, two = top / "study", top / "weights", top / "two.toml"
    shutil.copytree(ingested, folder)
    weights.mkdir()
    tensors = {
        f"{layer.name}/{variable}": drawn(variable, shape, np.random.default_rng(number))
        for number, layer in enumerate(build("mobilenetv2").keras_layers())
        for variable, shape in layer.variables
    }
    safetensors.numpy.save_file(tensors, weights / "mobilenetv2.safetensors")
    text = tiny_protocol.read_text().replace("[training]", f"[training]\nseeds = {list(SEEDS)}")
    for before, after in (
        ("widths = [16, 8]", "widths = [64, 32]"),
        ("validation = 0.3\ntest = 0.3", "validation = 0.2\ncalibration = 0.2\ntest = 0.2"),
    ):
        assert before in text
        text = text.replace(before, after)
    two.write_text(text)
    done = command("run", folder, "--protocol", two, "--networks", "mobilenetv2", "--weights-dir", weights)
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(folder / "results" / "predictions.csv").groupby("seed")["score"]
    assert (scores.nunique() > 50).all() and (scores.std() > 1e-3).all(), "a dead network answers everything alike"
    return folder


@pytest.fixture(scope="module")
def runs(study):
    return study / "runs" / "mobilenetv2" / "last-conv"


@pytest.fixture(scope="module")
def woman(study, runs, tiny_cohort):
    """The folder of the exam of the first woman of the test fold of whose exam there is no doubt."""
    folds = pd.read_csv(study / "cohort" / "folds.csv", dtype=str)
    predictor = tt.Predictor(runs, processes=1)
    try:
        for name in folds.loc[folds["fold"] == "test", "woman"]:
            if not predictor.predict(tiny_cohort / "dicom" / name, heatmaps=False).answer.flags:
                return tiny_cohort / "dicom" / name
    finally:
        predictor.close()
    pytest.fail("every exam of the test fold is doubted")


@pytest.fixture
def exam(woman, tmp_path):
    """A copy of that exam, to be changed."""
    return shutil.copytree(woman, tmp_path / "exam")


@pytest.fixture(scope="module")
def together(woman, runs):
    """What both seeds say together."""
    return tt.predict(woman, runs, processes=1)


@pytest.fixture(scope="module")
def alone(woman, runs):
    """What each seed says."""
    return [tt.predict(woman, runs / f"seed-{seed}", processes=1).answer for seed in SEEDS]


def test_a_new_exam_gets_the_scores_that_the_study_gave_it(study, runs, exam, command, tmp_path):
    """Seed 0 alone, against results/: each view's score to rounding, since another batch sums in another order; the woman's
    call by the study's own threshold."""
    done = command("predict", runs / "seed-0", exam, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    answer = Answer.model_validate_json((tmp_path / "out" / "prediction.json").read_text())
    known = pd.read_csv(study / "results" / "predictions.csv", dtype={"woman": str})
    known = known[(known["seed"] == 0) & (known["woman"] == answer.woman)]
    assert len(known) == 4 and set(known["fold"]) == {"test"}
    for row in known.to_dict("records"):
        assert answer.of("view", row["side"], row["view"]).score == pytest.approx(row["score"], rel=0, abs=1e-6)
    points = pd.read_csv(study / "results" / "operating_points.csv")
    cuts = points[points["seed"] == 0].set_index("unit")["threshold"]
    how = {"maximum": np.max, "mean": np.mean, "noisy-or": lambda scores: 1 - np.prod(1 - scores)}[answer.aggregation]
    assert answer.of("woman").score == pytest.approx(how(known["score"]), abs=1e-6)
    for unit, side, view in (("view", "L", "CC"), ("breast", "R", None), ("woman", None, None)):
        scored = answer.of(unit, side, view)
        assert scored.threshold == pytest.approx(cuts[unit], abs=1e-12)
        assert scored.call == ("positive" if scored.score >= scored.threshold else "negative")
    with Image.open(tmp_path / "out" / "heatmap_R_MLO.png") as picture:
        assert picture.size == (192, 256)
    assert f"woman     {answer.of('woman').score:.3f}" in re.sub(r" *[│┃] *", "     ", done.stdout)


def test_seeds_answer_together(together, alone, woman, runs):
    answer = together.answer
    assert [run.seed for run in answer.runs] == list(SEEDS)
    for scored in answer.scores:
        each = [one.of(scored.unit, scored.side, scored.view).score for one in alone]
        assert scored.by_run == pytest.approx(each, abs=1e-12) and each[0] != each[1]
        assert scored.spread == pytest.approx(abs(each[0] - each[1]), abs=1e-12)
        assert scored.sd == pytest.approx(scored.spread / 2**0.5, abs=1e-12)
        if scored.unit == "view":
            assert scored.score == pytest.approx(np.mean(each), abs=1e-12)
    assert answer == tt.predict(woman, [runs / "seed-0", runs / "seed-1"], processes=1).answer


def test_the_answer_follows_its_published_schema(together):
    published = json.loads((ROOT / "docs" / "reference" / "prediction.schema.json").read_text())
    assert published == Answer.model_json_schema(), "docs/reference/prediction.schema.json is not Answer's schema"
    answer = json.loads(together.answer.model_dump_json())
    jsonschema.validate(answer, published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**answer, "tramtrack": 1}, published)


def test_the_page_is_one_file_and_says_what_it_must(together, tmp_path):
    text = together.save(tmp_path).read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text) and "http" not in text
    assert text.count("<img ") == 8 and RESEARCH_USE in text and "Synthetic." in text and "mobilenetv2" in text
    assert repr(together).startswith(f"Case({together.answer.woman}, 4 views; score ")


def test_heat_maps_lie_on_the_original_images(study, woman, runs, tmp_path):
    """Those that the study made of the same views, brought back to the images' own grid; the study's scale too."""
    case = tt.predict(woman, runs / "seed-0", processes=1)
    with np.load(study / "heatmaps" / "mobilenetv2" / "last-conv" / "seed-0" / "maps.npz") as kept:
        known = dict(zip(kept["view_id"], kept["map"], strict=True))
    scale = json.loads((study / "heatmaps" / "mobilenetv2" / "last-conv" / "seed-0" / "manifest.json").read_text())
    geometry = load_geometry(study / "prepared")
    for side, view in (("L", "MLO"), ("R", "CC")):
        found = case.heatmap(side, view)
        (view_id,) = (name for name in known if name.startswith(woman.name) and name.endswith(f"{side}_{view}"))
        assert found.values.dtype == np.float32 and found.values.shape == (256, 192)
        assert found.values.max() > 0
        np.testing.assert_allclose(found.values, to_original(known[view_id], geometry[view_id]), rtol=1e-3, atol=1e-6)
        assert found.scale == scale["information"]["scale"] and found.file == woman / f"{side}{view}.dcm"
    found.overlay().save(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size == (192, 256) and picture.mode == "RGB"
        assert np.ptp(np.asarray(picture).astype(int), axis=2).max() > 60, "the map is in colour"
    with pytest.raises(tt.UsageError, match="this exam has maps of L-CC L-MLO R-CC R-MLO"):
        case.heatmap("L", "XCC")
    with pytest.raises(tt.UsageError, match="expected 0 to 0"):
        case.heatmap("L", "CC", run=1)


def test_several_runs_share_a_heat_map(together):
    """The mean of both maps, each over its own scale, so that the run with the larger numbers does not outshout the other."""
    each = [together.heatmap("L", "CC", run) for run in range(2)]
    assert each[0].scale != each[1].scale
    both = together.heatmap("L", "CC")
    expected = np.mean([one.values / one.scale for one in each], axis=0)
    assert both.scale == 1 and both.values == pytest.approx(expected, abs=1e-5)


def test_runs_that_are_kept_ready_answer_alike(together, woman, runs, command, tmp_path):
    ready = tt.Predictor(runs, processes=1)
    assert repr(ready) == "Predictor(mobilenetv2, seed 0, mobilenetv2, seed 1)"
    for _ in range(2):
        case = ready.predict(woman, heatmaps=False)
        for one, other in zip(case.answer.scores, together.answer.scores, strict=True):
            assert one.model_copy(update={"score": 0, "by_run": ()}) == other.model_copy(update={"score": 0, "by_run": ()})
            assert one.by_run == pytest.approx(other.by_run, abs=1e-6)
        assert case.maps == {} and case.save(tmp_path).read_text().count("<img ") == 4
    (tmp_path / "heatmap_L_CC.png").write_text("of an earlier exam")
    assert command("predict", runs, woman, "--out", tmp_path, "--no-heatmaps").returncode == 0
    assert not (tmp_path / "heatmap_L_CC.png").exists()


def test_what_is_missing_is_flagged(runs, exam):
    (exam / "LMLO.dcm").unlink()
    answer = tt.predict(exam, runs / "seed-0", processes=1).answer
    assert "view missing: L MLO" in answer.flags
    assert [scored.unit for scored in answer.scores] == ["view"] * 3 + ["breast"] * 2 + ["woman"]
    assert answer.of("breast", "L").score == answer.of("view", "L", "CC").score


def test_who_was_in_the_study_already_is_flagged(study, runs, tiny_cohort, alone):
    folds = pd.read_csv(study / "cohort" / "folds.csv", dtype=str).set_index("fold")["woman"]
    for fold in ("training", "validation", "calibration"):
        flags = tt.predict(tiny_cohort / "dicom" / folds[fold].iloc[0], runs / "seed-0", processes=1).answer.flags
        assert f"this woman or image was in the study's {fold} fold: the score says nothing of new women" in flags
    assert not any("was in the study" in flag for flag in alone[0].flags)


def test_an_image_table_of_another_place_is_flagged(runs, tmp_path):
    grey = np.zeros((256, 192), np.uint16)
    grey[20:236, :120] = np.linspace(60000, 9000, 120)
    Image.fromarray(grey).save(tmp_path / "view.png")
    (tmp_path / "exam.csv").write_text("woman,exam,side,view,file\nw,e,L,CC,view.png\n")
    answer = tt.predict(tmp_path / "exam.csv", runs / "seed-0", key="none", processes=1).answer
    assert (answer.woman, answer.synthetic) == ("w", False)
    assert "trained on synthetic mammograms alone, and this exam is not synthetic" in answer.flags
    assert "vendor unseen in training: not named" in answer.flags and "L CC: no spacing in the file" in answer.flags
    hidden = tt.predict(tmp_path / "exam.csv", runs / "seed-0", processes=1).answer
    assert re.fullmatch(r"W-[0-9a-f]{12}", hidden.woman)


def test_what_the_intake_would_exclude_gets_its_reason_and_no_score(runs, exam, command, tmp_path):
    (exam / "notes.txt").write_text("nothing")
    shutil.copyfile(exam / "LCC.dcm", exam / "zcopy.dcm")
    answer = tt.predict(exam, runs / "seed-0", processes=1).answer
    found = {item.file: (item.reason, item.detail) for item in answer.excluded}
    assert found["notes.txt"][0] == "not an image file"
    assert found["zcopy.dcm"] == ("duplicate SOP instance", "the same SOP instance as LCC.dcm")
    assert str(tmp_path) not in answer.model_dump_json()
    for file in exam.glob("*.dcm"):
        file.unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction.html").write_text("of an earlier exam")
    done = command("predict", runs / "seed-0", exam, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "none of 1 files is a standard view, so there is no score" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    refused = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert refused["scores"] == [] and refused["excluded"][0]["file"] == "notes.txt"
    assert not (tmp_path / "out" / "prediction.html").exists()


def test_questions_that_cannot_be_answered_are_refused(study, runs, exam, woman, tiny_cohort, command, tmp_path):
    out = ("--out", tmp_path / "out")
    other = sorted(path for path in (tiny_cohort / "dicom").iterdir() if path.name != woman.name)[0]
    shutil.copytree(other, tmp_path / "two" / "other")
    shutil.copytree(exam, tmp_path / "two" / "exam")
    moved = tmp_path / "moved" / "runs" / "mobilenetv2" / "last-conv"
    shutil.copytree(runs, moved)
    for words, code, says in (
        ((study, exam), 2, "expected the folder of a finished run"),
        ((runs / "seed-0", tmp_path / "nothing"), 1, "found nothing there"),
        ((runs / "seed-0", exam, "--prevalence", "1"), 2, "expected a share between 0 and 1"),
        ((runs / "seed-0", exam, "--key", tmp_path / "no.key"), 2, "found none"),
        ((runs, exam, "--also", runs / "seed-1"), 2, "each run may stand once"),
        ((runs, exam, "--also", moved), 1, "expected runs of one study"),
        ((moved, exam), 1, "a run answers from its study's folder"),
        ((runs / "seed-0", tmp_path / "two"), 2, "expected one exam, found 2"),
    ):
        done = command("predict", *words, *out)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
        assert not (tmp_path / "out").exists() and not (tmp_path / "no.key").exists()


def test_what_cannot_be_asked_leaves_an_earlier_answer(runs, exam, command, tmp_path):
    kept = tmp_path / "out" / "prediction.json"
    kept.parent.mkdir()
    kept.write_text("of another exam")
    for words in ((runs / "typo", exam), (runs, tmp_path / "typo")):
        assert command("predict", *words, "--out", kept.parent).returncode > 0
        assert kept.read_text() == "of another exam"


def test_an_exam_of_a_sealed_test_fold_gets_no_score(random_run, tiny_cohort):
    """Neither under her name nor by her images under another."""
    folds = pd.read_csv(random_run.parents[3] / "cohort" / "folds.csv", dtype=str)
    tested, trained = (folds.loc[folds["fold"] == fold, "woman"].iloc[0] for fold in ("test", "training"))
    predictor = tt.Predictor(random_run, processes=1)
    try:
        assert predictor.predict(tiny_cohort / "dicom" / trained, heatmaps=False).answer.scores
        with pytest.raises(TramtrackError, match="of the study's test fold, which is sealed"):
            predictor.predict(tiny_cohort / "dicom" / tested, heatmaps=False)
    finally:
        predictor.close()


def test_a_run_that_was_changed_answers_nothing(study, exam, command, tmp_path):
    copy = shutil.copytree(study, tmp_path / "study")
    run = copy / "runs" / "mobilenetv2" / "last-conv" / "seed-0"
    content = bytearray((run / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "weights.safetensors").write_bytes(content)
    done = command("predict", run, exam, "--out", tmp_path / "out")
    assert done.returncode == 1 and "not the weights that this run wrote" in done.stderr
    predictions = run / "predictions.csv"
    kept = predictions.read_text()
    predictions.write_text(kept.replace("0.5", "0.4", 1))
    done = command("predict", run, exam, "--out", tmp_path / "out")
    assert done.returncode == 1 and "not the predictions that this run wrote" in done.stderr
    predictions.write_text(kept)
    folds = copy / "cohort" / "folds.csv"
    folds.write_text(folds.read_text().replace("training", "test", 1))
    done = command("predict", run, exam, "--out", tmp_path / "out")
    assert done.returncode == 1 and "trained on other folds than its study has now" in done.stderr


def calibration_scores(study, aggregation):
    """The scores of the calibration women under both seeds together, by hand: with BAC, without."""
    tables = [
        pd.read_csv(study / "calibration" / "mobilenetv2" / "last-conv" / f"seed-{seed}" / "predictions.csv") for seed in SEEDS
    ]
    mean = tables[0].assign(score=(tables[0]["score"] + tables[1]["score"]) / 2)
    how = {"maximum": np.max, "mean": np.mean, "noisy-or": lambda scores: 1 - np.prod(1 - scores)}[aggregation]
    women = mean.groupby("woman").agg(score=("score", how), bac=("bac_woman", "first"))
    return women.loc[women["bac"] == 1, "score"], women.loc[women["bac"] == 0, "score"]


def test_bac_likely_or_unlikely_comes_from_women_kept_for_nothing_else(study, runs, woman, together, command, tmp_path):
    found = together.answer.conformal
    folds = pd.read_csv(study / "cohort" / "folds.csv", dtype=str)
    kept = set(folds.loc[folds["fold"] == "calibration", "woman"])
    for seed in SEEDS:
        assert not kept & set(pd.read_csv(runs / f"seed-{seed}" / "predictions.csv", dtype=str)["woman"])
    assert not kept & set(pd.read_csv(study / "results" / "predictions.csv", dtype=str)["woman"])
    assert (found.finding, found.calibration_with_bac, found.calibration_without_bac) == (None, 2, 2)
    assert "alpha 0.1: 2 women with BAC and 2 without were kept for calibration, so the smallest possible alpha is 0.3334" in (
        found.reason
    )
    answer = tt.predict(woman, runs, alpha=0.4, processes=1, heatmaps=False).answer
    score, (with_bac, without_bac) = answer.of("woman").score, calibration_scores(study, answer.aggregation)
    p_with, p_without = (1 + (with_bac <= score).sum()) / 3, (1 + (without_bac >= score).sum()) / 3
    assert (answer.conformal.p_with_bac, answer.conformal.p_without_bac) == pytest.approx((p_with, p_without))
    expected = {(True, False): "BAC likely", (False, True): "BAC unlikely"}
    assert answer.conformal.finding == expected.get((p_with > 0.4, p_without > 0.4), "indeterminate")
    assert "at most 40 % of women with BAC are called unlikely" in answer.conformal.guarantee
    done = command("predict", runs, woman, "--out", tmp_path / "out", "--alpha", "0.4", "--no-heatmaps")
    assert f"{answer.conformal.finding} at an error rate of 0.4" in done.stdout
    assert "2 women with BAC and 2 without kept for calibration" in done.stdout
    assert re.search(r"2 runs answered together; by themselves they say 0\.\d{3} to 0\.\d{3} \(standard", done.stdout)
    assert "By 2 women with BAC and 2 without who were kept for this." in (tmp_path / "out" / "prediction.html").read_text()
    done = command("predict", runs, woman, "--out", tmp_path / "out", "--alpha", "0.01")
    assert done.returncode == 2 and "the smallest possible alpha is 0.3334" in done.stderr


def test_an_exam_unlike_those_of_calibration_stays_indeterminate(runs, exam):
    (exam / "LMLO.dcm").unlink()
    found = tt.predict(exam, runs, alpha=0.4, processes=1, heatmaps=False).answer.conformal
    assert (found.finding, found.p_with_bac) == ("indeterminate", None)
    assert found.reason == "this exam is unlike those of calibration: view missing: L MLO"


def test_runs_that_disagree_more_than_on_validation_are_flagged(runs, together, alone):
    """The limit by hand, from the women of validation; a woman on whom the runs span more is flagged, and not called."""
    how = {"maximum": np.max, "mean": np.mean, "noisy-or": lambda scores: 1 - np.prod(1 - scores)}[together.answer.aggregation]
    tables = [pd.read_csv(runs / f"seed-{seed}" / "predictions.csv", dtype={"woman": str}) for seed in SEEDS]
    women = [table[table["fold"] == "validation"].groupby("woman")["score"].agg(how) for table in tables]
    spans = (women[0] - women[1]).abs().sort_values()
    panel = load_panel([runs])
    assert panel.spread_limit == pytest.approx(spans.iloc[-1], abs=1e-12), "of four women the 95 % lie at the highest"
    assert flags_of_spread(panel.spread_limit, panel) == ()
    (said,) = flags_of_spread(panel.spread_limit + 0.001, panel)
    assert said.startswith("the runs disagree: their scores span 0.")
    assert load_panel([runs / "seed-0"]).spread_limit is None and alone[0].of("woman").spread is None


@pytest.fixture(scope="module")
def exported(runs, command, tmp_path_factory):
    """Both seeds as one folder, away from their study."""
    out = tmp_path_factory.mktemp("away") / "export"
    done = command("export", runs, "--out", out, "--no-onnx")
    assert done.returncode == 0, done.stderr
    assert store.file_sha256(out / "export.json") in done.stdout
    return out


def test_an_exported_folder_answers_as_the_runs_do(study, exported, together, woman, command):
    """All that is said of an exam, and the maps; no woman of the study stands in it."""
    assert {path.suffix for path in exported.rglob("*") if path.is_file()} == {".json", ".toml", ".md", ".safetensors"}
    text = (exported / "panel.json").read_text() + (exported / "CARD.md").read_text()
    assert "SYN-" not in text and not any(str(place) in text for place in (exported.parent, study.parent))
    case = tt.predict(woman, exported, processes=1)
    assert case.answer.model_dump() == together.answer.model_dump()
    assert case.heatmap("L", "CC").values == pytest.approx(together.heatmap("L", "CC").values, abs=1e-5)
    done = command("card", exported)
    assert done.returncode == 0 and (exported / "CARD.md").read_text().split("\n")[0] in done.stdout


def test_the_card_says_what_a_stranger_must_know(study, runs, exported, command):
    done = command("card", runs)
    card = (exported / "CARD.md").read_text()
    assert done.returncode == 0 and card.split() == done.stdout.split()
    for said in (
        "Not for diagnosis",
        "All training exams are synthetic mammograms",
        "| calibration | 4 | 2 | 16 |",
        "On the test fold, which took no part",
        "BAC likely or unlikely: by 2 women with BAC and 2 without",
    ):
        assert said in card, said
    scores = pd.read_csv(study / "results" / "scores.csv")
    row = scores[(scores["fold"] == "test") & (scores["unit"] == "view") & (scores["metric"] == "auc_roc")].iloc[0]
    assert f"| view | auc_roc | {row['estimate']:.3f} | {row['low']:.3f} to {row['high']:.3f} |" in card


def rewrite(out, name, before, after):
    """Change a file and list its new hash, as somebody would who means harm."""
    text = (out / name).read_text()
    assert before in text
    (out / name).write_text(text.replace(before, after))
    list_too(out, name, store.file_sha256(out / name))


def list_too(out, name, sha256="0" * 64):
    listed = json.loads((out / "export.json").read_text())
    listed["files"][name] = sha256
    (out / "export.json").write_text(json.dumps(listed))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda out: (out / "notes.pkl").write_bytes(b"x"), "holds notes.pkl, which its list does not name"),
        (lambda out: (out / "protocol.toml").unlink(), "incomplete, protocol.toml is missing"),
        (lambda out: (out / "CARD.md").write_text("all is well"), "CARD.md: changed since the folder was exported"),
        (lambda out: rewrite(out, "panel.json", '"synthetic": true', '"synthetic": "unclear"'), "synthetic: Input should be"),
        (lambda out: rewrite(out, "panel.json", '"aggregation"', '"agregation"'), "aggregation: Field required"),
        (lambda out: rewrite(out, "panel.json", '"dtype": "', '"dtype": "pickle-'), "expected the dtype float32 or bfloat16"),
        (lambda out: list_too(out, "model.pkl"), "lists 'model.pkl', which has no place in an export"),
        (lambda out: list_too(out, "../seed.json"), "lists '../seed.json', which has no place in an export"),
        (lambda out: (out / "export.json").write_text("{}"), "tramtrack: Field required"),
        (lambda out: (out / "export.json").unlink(), "expected the folder of a finished run"),
    ],
)
def test_a_folder_from_somebody_else_is_checked_before_it_is_trusted(exported, command, tmp_path, change, says):
    copy = shutil.copytree(exported, tmp_path / "copy")
    change(copy)
    done = command("card", copy)
    assert done.returncode in (1, 2) and says in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_export_is_not_written_over_anything(exported, runs, command, tmp_path):
    (tmp_path / "there").mkdir()
    for words, says in (
        ((runs, "--out", tmp_path / "there"), "expected a folder that is not there yet"),
        ((exported, "--out", tmp_path / "new"), "expected runs of a study, received an exported folder"),
    ):
        done = command("export", *words, "--no-onnx")
        assert done.returncode == 2 and says in done.stderr
    done = command("predict", exported, tmp_path, "--also", runs, "--out", tmp_path / "out")
    assert done.returncode == 2 and "an exported folder answers by itself" in done.stderr


def test_a_site_validates_an_export_on_its_own_exams(study, runs, exported, ingested, command, tmp_path, monkeypatch):
    """The study's own cohort stands in for another site's: an export does not know its women. Scores as the study has them,
    tables by every unit, a file whose small counts are left out; a second time nothing is computed."""
    monkeypatch.setenv("TRAMTRACK_CONFIG", str(tmp_path / "config"))
    site = shutil.copytree(ingested, tmp_path / "site")
    done = command("validate", exported, site, "--site", "North", "--processes", "1")
    assert done.returncode == 0, done.stderr
    (folder,) = (site / "external").iterdir()
    found = pd.read_csv(folder / "runs" / "mobilenetv2" / "last-conv" / "seed-1" / "predictions.csv").set_index("view_id")
    known = pd.read_csv(study / "results" / "predictions.csv")
    known = known[(known["seed"] == 1) & (known["fold"] == "test")].set_index("view_id")
    assert len(found) == 80 and found.loc[known.index, "score"].to_numpy() == pytest.approx(known["score"].to_numpy(), abs=1e-6)
    signed = read_signed(folder / "validation.json")
    scores = pd.read_csv(folder / "scores.csv").set_index(["unit", "metric"])
    assert set(scores.index.get_level_values("unit")) == {"view", "breast", "woman"} and set(scores["fold"]) == {"external"}
    figure = signed.numbers.units["woman"].figures["auc_roc"]
    assert figure.estimate == scores.loc[("woman", "auc_roc"), "estimate"] and signed.numbers.units["woman"].positives == 10
    groups = pd.read_csv(folder / "subgroups.csv")
    assert {"all", "projection"} <= set(groups["factor"]) and set(groups["fold"]) == {"external"}
    assert "SYN-" not in (folder / "validation.json").read_text()
    assert all(count is None or count >= 5 for count in signed.numbers.vendors.values())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("predictions.csv")}
    again = command("validate", exported, site, "--site", "North", "--json")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads(again.stdout)["numbers"] == signed.numbers.model_dump(mode="json")
    done = command("validate", runs, site, "--site", "North")
    assert done.returncode == 1 and "of its women took part in the runs' own study" in done.stderr
    done = command("pool", folder / "validation.json")
    assert done.returncode == 2 and "the AUC of two sites at least, received that of 1 of 1" in done.stderr


def test_without_calibration_nothing_is_called_likely(study, runs, woman, command, tmp_path):
    """Scores of other weights count for nothing; `calibrate` makes them anew, and keeps those that are there."""
    copy = shutil.copytree(study, tmp_path / "study")
    seed = copy / "runs" / "mobilenetv2" / "last-conv" / "seed-0"
    kept = copy / "calibration" / "mobilenetv2" / "last-conv"
    shutil.rmtree(kept / "seed-0")
    before = (kept / "seed-1" / "predictions.csv").stat().st_mtime_ns
    reason = tt.predict(woman, seed, processes=1, heatmaps=False).answer.conformal.reason
    assert reason == "these runs have not scored the calibration fold; `tramtrack calibrate` on the study does so"
    with pytest.raises(tt.UsageError, match=r"alpha 0\.4: these runs have not scored"):
        tt.predict(woman, seed, alpha=0.4)
    done = command("calibrate", copy)
    assert done.returncode == 0 and "calibration women: 2 with BAC, 2 without BAC" in done.stdout
    original = study / "calibration" / "mobilenetv2" / "last-conv" / "seed-0" / "predictions.csv"
    assert (kept / "seed-0" / "predictions.csv").read_bytes() == original.read_bytes()
    assert (kept / "seed-1" / "predictions.csv").stat().st_mtime_ns == before
    protocol = copy / "protocol.toml"
    text = protocol.read_text().replace("calibration = 0.2", "calibration = 0.0").replace("test = 0.2", "test = 0.4")
    protocol.write_text(text)
    assert command("calibrate", copy).returncode == 1


def test_the_probability_is_for_the_prevalence_that_is_stated(runs, woman, alone):
    here, there = alone[0].probability, tt.predict(woman, runs / "seed-0", prevalence=0.5, processes=1).answer.probability
    assert (here.prevalence, there.prevalence) == (0.13, 0.5)
    odds = [found.value / (1 - found.value) for found in (here, there)]
    assert odds[1] / odds[0] == pytest.approx(0.87 / 0.13, rel=1e-6)


def test_results_go_into_the_exams_own_study(runs, exam, command, tmp_path):
    out = tmp_path / "out"
    (out / "dicom").mkdir(parents=True)
    (out / "dicom" / "R_CC.seg.dcm").write_bytes(b"of an earlier exam")
    done = command("predict", runs / "seed-0", exam, "--out", out, "--dicom")
    assert done.returncode == 0, done.stderr
    answer = Answer.model_validate_json((out / "prediction.json").read_text())
    source = pydicom.dcmread(next(exam.rglob("*.dcm")))
    results = {file.name: pydicom.dcmread(file) for file in sorted((out / "dicom").iterdir())}
    views = [f"{side}_{view}" for side in "LR" for view in ("CC", "MLO")]
    of_views = {f"{view}.{kind}.dcm" for view in views for kind in ("sc", "map", "pr")}
    assert set(results) == {"bac.sr.dcm", "bac.cad.dcm"} | of_views
    assert "14 DICOM results" in " ".join(done.stdout.split())
    for result in results.values():
        assert result.StudyInstanceUID == source.StudyInstanceUID and result.PatientName == source.PatientName
    assert answer.runs[0].weights_file_sha256 == results["bac.sr.dcm"].get("DeviceSerialNumber")
    heat = results["L_CC.map.dcm"]
    assert heat.Rows == source.Rows and np.ptp(np.frombuffer(heat.FloatPixelData, "<f4")) > 0
    done = command("predict", runs / "seed-0", exam, "--out", out, "--dicom", "--json", "--no-heatmaps")
    assert Answer.model_validate_json(done.stdout).scores and "L_CC.map.dcm" in done.stderr
    assert "left out: no heat map was made" in done.stderr
    assert [file.name for file in (out / "dicom").iterdir()] == ["bac.sr.dcm"]


def test_a_picture_has_no_study_that_results_could_go_into(together, tmp_path):
    pictures = {place: file.with_suffix(".png") for place, file in together.files.items()}
    with pytest.raises(UsageError, match="a picture without one"):
        replace(together, files=pictures).save_dicom(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_calibrated_study_gives_a_new_exam_its_burden(study, woman, command, tmp_path):
    """From `burden` on the study to the answer, the segmentation and the report; of an earlier run's calibration it says so."""
    copy = shutil.copytree(study, tmp_path / "study")
    assert command("burden", copy).returncode == 0
    run = copy / "runs" / "mobilenetv2" / "last-conv" / "seed-0"
    out = tmp_path / "out"
    done = command("predict", run, woman, "--out", out, "--dicom")
    assert done.returncode == 0, done.stderr
    (burden,) = Answer.model_validate_json((out / "prediction.json").read_text()).burden
    areas = [view.area for view in burden.views]
    assert burden.run == "mobilenetv2/last-conv/seed-0" and len(areas) == 4
    assert burden.reason == "no interval: validation has too few women whose area is known" and burden.low is None
    assert burden.area_mm2 == pytest.approx(sum(areas)) and burden.added == "sum" and burden.band
    segmented = {path.name.split(".")[0] for path in (out / "dicom").glob("*.seg.dcm")}
    assert segmented == {f"{view.side}_{view.view}" for view in burden.views if view.area > 0}
    report = str(pydicom.dcmread(out / "dicom" / "bac.sr.dcm"))
    assert ("Square" in report or "mm2" in report) == any(areas)
    kept = copy / "results" / "burden" / "mobilenetv2" / "last-conv" / "seed-0" / "calibration.json"
    told = json.loads(kept.read_text())
    told["identity"]["maps"]["weights"] = "0" * 64
    kept.write_text(json.dumps(told))
    done = command("predict", run, woman, "--out", out)
    assert done.returncode == 1 and "of an earlier run; run `tramtrack burden` again" in done.stderr


def test_an_exported_network_scores_views_as_onnx_too(study, runs, command, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    out = tmp_path / "export"
    done = command("export", runs / "seed-0", "--out", out)
    assert done.returncode == 0, done.stderr
    (network,) = out.rglob("*.onnx")
    assert network.relative_to(out).as_posix() in json.loads((out / "export.json").read_text())["files"]
    assert "ONNX" in (out / "CARD.md").read_text()
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    known = pd.read_csv(runs / "seed-0" / "predictions.csv").set_index("view_id")["score"]
    prepared = pd.read_csv(study / "prepared" / "geometry.csv")
    for row in prepared[prepared["view_id"].isin(known.index)].head(6).to_dict("records"):
        grey = np.asarray(Image.open(study / "prepared" / f"{row['view_id']}.png"), np.float32)[None, None]
        assert session.run(None, {"grey": grey})[0].item() == pytest.approx(known[row["view_id"]], abs=1e-3)
