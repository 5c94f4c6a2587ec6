"""The protocol: the same as its TOML file, hashed by its settings, and refusing what it does not know."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tramtrack.errors import UsageError
from tramtrack.protocol import Protocol, Split
from tramtrack.protocols import presets


@pytest.mark.parametrize("name", presets())
def test_presets_load_and_round_trip(name: str) -> None:
    protocol = Protocol.load(name)
    assert protocol.name == name and protocol.description
    back = Protocol.from_toml(protocol.to_toml(), "text")
    assert back == protocol and back.sha256 == protocol.sha256 and hash(back) == hash(protocol)


def test_a_protocol_that_states_a_part_takes_the_rest_from_the_defaults() -> None:
    assert Protocol.from_toml("[split]\nseed = 1\n", "text").split == Split(seed=1)


def test_a_seed_may_stand_once() -> None:
    with pytest.raises(UsageError, match=r"training\.seeds: .*each seed may stand once"):
        Protocol.from_toml("[training]\nseeds = [0, 1, 0]\n", "text")


def test_the_hash_is_of_settings_and_not_of_names() -> None:
    first = Protocol.from_toml('name = "a"\ndescription = "x"', "text")
    second = Protocol.from_toml('name = "b"\ndescription = "y"', "text")
    assert first != second and first.sha256 == second.sha256
    assert first.differences(second) == []
    settings = first.settings()
    beside = [row for row in settings if row["section"] in ("factors", "burden") or row["key"] == "repeats"]
    deciding = [row for row in settings if row not in beside]
    assert len({first.sha256, *(changed(row["section"], row["key"]).sha256 for row in deciding)}) == len(deciding) + 1
    assert len(beside) == 9
    for row in beside:  # which runs there are, or how burden is stated, and no run's result
        other = changed(row["section"], row["key"])
        assert other != first and other.sha256 == first.sha256 and first.differences(other) == []


def changed(section: str, key: str) -> Protocol:
    """The default protocol with one setting changed to another allowed value."""
    others = {
        ("split", "training_prevalence_of"): "views",
        ("split", "calibration"): 0.1,
        ("explain", "method"): "grad-cam",
        ("explain", "layer"): "stride-8",
        ("labels", "views_without_label"): "leave-out",
        ("transfer", "policy"): "full",
        ("transfer", "batchnorm"): "adapt",
        ("transfer", "stride"): 16,
        ("transfer", "pooling"): "both",
        ("transfer", "widths"): (8, 4),
        ("augmentation", "flip_cc"): False,
        ("training", "optimiser"): "sgd",
        ("training", "keep"): "last",
        ("training", "class_weighting"): "none",
        ("intake", "for_processing"): True,
        ("intake", "synthesised"): True,
        ("intake", "repeated_view"): "first",
        ("intake", "analysed_exam"): "last",
        ("intake", "incomplete_exams"): "leave-out",
        ("factors", "policy"): ("full",),
        ("factors", "batchnorm"): ("adapt",),
        ("factors", "stride"): (16,),
        ("factors", "size"): ("512x256",),
        ("labels", "consensus"): "any",
        ("labels", "unmarked"): "negative",
        ("training", "seeds"): (3, 4),
        ("training", "dtype"): "float32",
        ("evaluation", "aggregation"): "mean",
        ("evaluation", "threshold"): "youden",
        ("evaluation", "confidence"): 0.9,
        ("prepare", "brightest_percentile"): 90.0,
        ("burden", "woman"): "mean",
    }
    content = Protocol().model_dump()
    old = content[section][key]
    if (section, key) in others:
        content[section][key] = others[section, key]
    elif isinstance(old, int):
        content[section][key] = old + 1
    elif isinstance(old, float):
        content[section][key] = old / 2
    if key == "calibration":
        content[section]["training"] -= 0.1
    if section == "split" and key in ("training", "validation", "test"):
        other = "test" if key == "training" else "training"
        content[section][other] += old / 2
    return Protocol.model_validate(content)


def test_differences_name_key_and_both_values() -> None:
    mine, theirs = Protocol.load("demo"), Protocol.load("mobini-2024")
    found = mine.differences(theirs)
    assert "prepare.height: 512 against 1536" in found
    assert "training.epochs: 12 against 20" in found
    assert not any(line.startswith(("name", "split.seed")) for line in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlerning_rate = 0.1", "unknown key training.lerning_rate, did you mean learning_rate?"),
        ("[trainig]\nepochs = 3", "unknown key trainig, did you mean training?"),
        ("zzz = 1", "unknown key zzz"),
        ("[training]\nepochs = 0", "training.epochs: Input should be greater than or equal to 1, received 0"),
        ("[training]\nlearning_rate = inf", "training.learning_rate: Input should be a finite number"),
        ("[training]\nlearning_rate = nan", "training.learning_rate"),
        ("[training]\nseeds = []", "training.seeds"),
        ('[training]\noptimiser = "adamm"', "training.optimiser: Input should be 'adam' or 'sgd', received 'adamm'"),
        ("[split]\ntraining = 0.5", "training + validation + test must be 1, received 0.800"),
        ("[split]\ncalibration = 0.1", "training + validation + calibration + test must be 1, received 1.100"),
        ("[split\n", "expected TOML"),
    ],
)
def test_bad_protocols_are_refused_with_the_key(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Protocol.from_toml(text, "my.toml")
    assert str(caught.value).startswith("my.toml: ") and message in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_names_get_the_nearest_preset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean mobini-2024\?"):
        Protocol.load("mobini-2042")
    with pytest.raises(UsageError, match="the presets are demo, mobini-2024"):
        Protocol.load(tmp_path / "nothing.toml")


def test_a_file_is_loaded_by_its_path_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(Protocol.load("demo").to_toml())
    assert Protocol.load(path) == Protocol.load("demo")
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match=r"mine\.toml: expected a TOML file in UTF-8"):
        Protocol.load(path)


def test_every_setting_says_what_it_means_and_whose_choice_it_is() -> None:
    rows = Protocol().settings()
    sections = set(Protocol.model_fields) - {"name", "description"}
    assert {row["section"] for row in rows} == sections
    for row in rows:
        assert row["meaning"] and row["value"], row
        assert row["origin"] in ("paper", "inferred", "unverified", "ours"), row
    height = next(row for row in rows if row["key"] == "height")
    assert (height["value"], height["unit"], height["origin"]) == ("1536", "pixels", "unverified")


def test_a_protocol_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Protocol().split.seed = 3  # type: ignore[misc]


def test_settings_at_their_defaults_that_older_protocols_lack_leave_their_hash() -> None:
    older = Protocol().model_dump(mode="json", exclude={"name", "description", "intake", "factors", "burden"})
    del older["labels"]["consensus"], older["labels"]["unmarked"], older["split"]["repeats"]
    del older["split"]["calibration"], older["evaluation"]["alpha"]
    older["explain"] = {key: older["explain"][key] for key in ("method", "views_of_each_kind")}
    assert Protocol.model_validate(older) == Protocol()
    assert Protocol().sha256 == hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()


def test_a_key_in_the_wrong_section_is_told_where_it_belongs():
    with pytest.raises(UsageError, match=r"unknown key split\.dropout, it belongs to \[transfer\]"):
        Protocol.from_toml("[split]\ndropout = 0.1\n", "mine.toml")
