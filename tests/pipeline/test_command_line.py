"""What the command line says when it is asked for help, for facts, or for something that cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from unittest.mock import Mock

import pandas as pd
import pytest

from tramtrack.network.registry import NETWORKS

WITHOUT_FRAMEWORK = """
import sys
from tramtrack import cli
sys.argv = ["tramtrack", "--help"]
try:
    cli.main()
except SystemExit as end:
    assert not end.code
heavy = {"torch", "pandas", "numpy", "pydicom", "scipy", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_imports_no_framework():
    done = subprocess.run([sys.executable, "-c", WITHOUT_FRAMEWORK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ingest" in done.stdout


def test_networks_lists_all_eleven_with_their_facts(command):
    listed = json.loads(command("networks", "--json").stdout)
    assert [network["name"] for network in listed] == list(NETWORKS)
    assert len(listed) == 11
    for network in listed:
        assert network["parameters"] > 0 and network["input_convention"] in ("caffe", "tf", "torch")


def empty(folder):
    (folder / "empty").mkdir()
    return ["ingest", folder / "empty", "--study", folder / "study"]


def not_dicom(folder):
    (folder / "exams").mkdir()
    (folder / "exams" / "notes.txt").write_text("not an image")
    return ["ingest", folder / "exams", "--study", folder / "study"]


def no_cohort(folder):
    return ["run", folder / "study", "--networks", "vgg16"]


def unknown_network(folder):
    return ["run", folder / "study", "--networks", "vgg16,xceptoin"]


def unknown_protocol(folder):
    return ["run", folder / "study", "--protocol", "mobini-2042"]


def unknown_key(folder):
    (folder / "mine.toml").write_text("[training]\nepoch = 3\n")
    return ["run", folder / "study", "--protocol", folder / "mine.toml"]


def unknown_weights(folder):
    return ["train", folder / "study", "--networks", "vgg16", "--weights", "imagenet"]


def unknown_option(folder):
    return ["run", folder / "study", "--netwroks", "vgg16"]


def absent_device(folder):
    return ["run", folder / "study", "--networks", "vgg16", "--device", "cuda:99"]


def unknown_device(folder):
    return ["evaluate", folder / "study", "--unseal", "--device", "gpu"]


def weights_for_none(folder):
    return ["train", folder / "study", "--networks", "vgg16", "--weights", "random", "--weights-dir", folder]


def a_share_of_no_cluster(folder):
    return ["run", folder / "study", "--networks", "vgg16", "--gpus-per-run", "0.5"]


def threads_of_no_cluster(folder):
    return ["train", folder / "study", "--networks", "vgg16", "--cpus-per-run", "2"]


def bad_prevalence(folder):
    return ["phantom", "cohort", folder / "phantoms", "--prevalence", "1.5"]


@pytest.mark.parametrize(
    ("question", "code", "says"),
    [
        (empty, 1, "found an empty folder"),
        (not_dicom, 1, "none of 1 files is a mammographic view"),
        (no_cohort, 1, "no cohort yet"),
        (unknown_network, 2, "did you mean xception?"),
        (unknown_protocol, 2, "did you mean mobini-2024?"),
        (unknown_key, 2, "unknown key training.epoch, did you mean epochs?"),
        (unknown_weights, 2, "expected pretrained or random"),
        (unknown_option, 2, "netwroks"),
        (absent_device, 2, "--device cuda:99: "),
        (unknown_device, 2, "--device gpu: expected auto, cpu, cuda or cuda:N"),
        (weights_for_none, 2, "not with --weights random"),
        (a_share_of_no_cluster, 2, "--gpus-per-run 0.5: what a run asks of a cluster; it goes with --engine ray"),
        (threads_of_no_cluster, 2, "--cpus-per-run 2: what a run asks of a cluster"),
        (bad_prevalence, 2, "prevalence"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_questions_get_a_clear_line_and_an_exit_code(question, code, says, command, tmp_path):
    done = command(*question(tmp_path))
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_memory_that_is_not_there_and_a_gpu_that_fails_are_one_line_for_every_verb(command, monkeypatch, tmp_path):
    import torch

    from tramtrack.commands import runs

    monkeypatch.setattr(runs, "open_study", lambda *_, **__: torch.empty(1 << 50))
    done = command("evaluate", tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("tramtrack: out of memory (4503599627370496 bytes more were asked for); what was finished")
    no_code = RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be")
    monkeypatch.setattr(runs, "open_study", Mock(side_effect=no_code))
    done = command("evaluate", tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "the GPU failed (CUDA error: no kernel image is available for execution on the device); what was" in done.stderr
    monkeypatch.setattr(runs, "open_study", lambda *_, **__: torch.ones(2, 3) @ torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        command("evaluate", tmp_path)


def test_the_folds_are_counted_in_numbers(command, monkeypatch, tmp_path):
    from tramtrack.commands import cohort

    folds = pd.DataFrame({"fold": ["training", "training", "test"], "bac_woman": [1, 0, 1]})
    monkeypatch.setattr(cohort, "open_study", Mock(return_value=Mock(split=Mock(return_value=folds))))
    assert json.loads(command("split", tmp_path, "--json").stdout) == [
        {"fold": "test", "women": 1, "with BAC": 1},
        {"fold": "training", "women": 2, "with BAC": 1},
    ]
    assert "training" in command("split", tmp_path).stdout


def test_a_run_says_the_warnings_of_its_split(command, monkeypatch, tmp_path):
    from tramtrack.commands import runs

    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "warnings.csv").write_text("kind,what\npredicts the label,vendor: AUC 0.91\n")
    monkeypatch.setattr(runs, "spread_study", Mock())
    monkeypatch.setattr(runs, "_show_results", Mock())
    assert "warning: predicts the label: vendor: AUC 0.91\n" in command("run", tmp_path).stdout


def test_ctrl_c_while_a_compiled_module_is_imported_is_one_line(command, monkeypatch, tmp_path):
    from tramtrack import cli
    from tramtrack.commands import cohort

    def imports(*_: object, **__: object) -> None:
        try:
            cli._interrupt(2, None)
        except BaseException as interrupted:
            raise ImportError("initialization failed") from interrupted

    monkeypatch.setattr(cohort, "open_study", imports)
    done = command("split", tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("tramtrack: interrupted; what is finished is kept")
    assert len(done.stderr.splitlines()) == 1
    monkeypatch.setattr(cohort, "open_study", Mock(side_effect=ImportError("no module")))
    with pytest.raises(ImportError, match="no module"):
        command("split", tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("woman,bac,sied\na,1,L\n", "did you mean side?"),
        ("person,bac\na,1\n", "expected the columns woman and bac"),
        ("woman,bac\na,maybe\n", "line 2: expected 1, 0, yes, no"),
        ("woman,bac\na,1\na,0\n", "one row for each key"),
    ],
)
def test_bad_labels_are_refused_before_any_image_is_read(content, says, command, tmp_path, tiny_cohort):
    labels = tmp_path / "labels.csv"
    labels.write_text(content)
    exams = tmp_path / "exams"
    exams.mkdir()
    some = sorted((tiny_cohort / "dicom").rglob("*.dcm"))[0]
    (exams / some.name).write_bytes(some.read_bytes())
    done = command("ingest", exams, "--labels", labels, "--study", tmp_path / "study")
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "study" / "cohort" / "views.csv").exists()


def test_a_cohort_without_labels_can_be_ingested_but_not_split(command, tmp_path, tiny_cohort):
    assert command("ingest", tiny_cohort / "dicom", "--study", tmp_path / "study").returncode == 0
    done = command("split", tmp_path / "study")
    assert done.returncode == 1
    assert "the cohort has no labels" in done.stderr


def test_one_class_only_is_refused_before_any_work(command, tmp_path, tiny_cohort):
    labels = tmp_path / "labels.csv"
    women = sorted({path.parent.name for path in (tiny_cohort / "dicom").rglob("*.dcm")})
    labels.write_text("woman,bac\n" + "".join(f"{woman},0\n" for woman in women))
    assert command("ingest", tiny_cohort / "dicom", "--labels", labels, "--study", tmp_path / "study").returncode == 0
    done = command("run", tmp_path / "study", "--networks", "vgg16")
    assert done.returncode == 1
    assert "no woman with BAC" in done.stderr
    assert not (tmp_path / "study" / "prepared").exists()
