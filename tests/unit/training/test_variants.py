"""Which variants a protocol's factors cross, and which of them a network follows; all of it before any work."""

from __future__ import annotations

import pytest

from tramtrack.errors import UsageError
from tramtrack.network.registry import NETWORKS
from tramtrack.protocol import Factors, Protocol
from tramtrack.training.policies import EQUAL_WEIGHTS
from tramtrack.training.record import RANDOM_WEIGHTS
from tramtrack.training.variants import EQUAL_SLICE, crossed, followed, variants, without_weights
from tramtrack.training.wanted import plan_variants

OWN = Protocol()
ALL = Factors.from_texts(["policy=equal-slice,last-conv", "batchnorm=adapt", "stride=16", "size=512x256"])


def crossing(*texts: str) -> Protocol:
    return OWN.model_copy(update={"factors": Factors.from_texts(texts)})


def test_the_protocols_own_level_comes_first_and_all_levels_are_crossed():
    protocol = OWN.model_copy(update={"factors": ALL})
    assert crossed(protocol) == {
        "policy": ("last-conv", "equal-slice"),
        "batchnorm": ("frozen", "adapt"),
        "stride": ("32", "16"),
        "size": ("1536x768", "512x256"),
    }
    made = variants(protocol)
    assert len(made) == 16 and len({variant.name() for variant in made}) == 16
    assert made[0].name() == "last-conv" and made[0].protocol.sha256 == OWN.sha256 == protocol.sha256
    last = made[-1]
    assert last.name() == "equal-slice+batchnorm-adapt+stride-16+size-512x256"
    assert (last.protocol.prepare.height, last.protocol.prepare.width, last.protocol.transfer.stride) == (512, 256, 16)
    assert len({variant.protocol.sha256 for variant in made}) == 16
    assert without_weights(last.name(RANDOM_WEIGHTS)) == last.name()


def test_a_protocol_without_factors_has_one_variant():
    assert crossed(OWN) == {} and [variant.name() for variant in variants(OWN)] == ["last-conv"]
    assert crossed(crossing("policy=last-conv")) == {}


def test_what_changes_nothing_in_a_network_is_its_own_run():
    factors = crossed(OWN.model_copy(update={"factors": ALL}))
    asked = {"policy": "equal-slice", "batchnorm": "adapt", "stride": "16", "size": "512x256"}
    levels, why = followed(NETWORKS["vgg16"], asked, factors)
    assert levels == {"policy": "equal-slice", "batchnorm": "frozen", "stride": "32", "size": "512x256"}
    assert "it has no BatchNorm" in why and "it is at stride 16 as it is" in why
    levels, why = followed(NETWORKS["densenet121"], asked, factors)
    assert levels == asked | {"policy": "last-conv"} and "36,864" in why
    assert followed(NETWORKS["xception"], asked, factors) == (asked, "")
    assert EQUAL_SLICE == EQUAL_WEIGHTS


def test_variants_that_a_network_cannot_follow_are_left_out_before_any_work():
    wanted, refused = plan_variants(["vgg16", "mobilenetv2"], crossing("stride=16", "policy=full"), "auto")
    assert [one.name for one in wanted] == [
        "vgg16",
        "vgg16/full",
        "mobilenetv2",
        "mobilenetv2/last-conv+stride-16",
        "mobilenetv2/full",
        "mobilenetv2/full+stride-16",
    ]
    assert set(refused) == {"vgg16/last-conv+stride-16", "vgg16/full+stride-16"}
    assert "policy full stands for it" in str(refused["vgg16/full+stride-16"])
    with pytest.raises(UsageError, match="policy full trains from the first layer"):
        plan_variants(["mobilenetv2"], crossing("policy=full"), "on")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("policy", "expected FACTOR=LEVEL,LEVEL"),
        ("colour=red", "expected FACTOR=LEVEL,LEVEL"),
        ("policy=", "expected FACTOR=LEVEL,LEVEL"),
        ("policy=lastconv", "'last-conv'"),
        ("stride=8", "16 or 32"),
        ("size=512", "HEIGHTxWIDTH"),
        ("size=8x8", "HEIGHTxWIDTH"),
    ],
)
def test_factors_that_cannot_be_read_say_what_was_expected(text, says):
    with pytest.raises(UsageError, match=says):
        Factors.from_texts([text])
