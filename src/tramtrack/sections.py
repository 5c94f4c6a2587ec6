"""The sections of a protocol: each setting with its default, what it means, its unit, its limits and whose choice it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tramtrack.errors import UsageError

Origin = Literal["paper", "inferred", "unverified", "ours"]
Policy = Literal["head", "last-conv", "last-block", "full", "equal-slice", "equal-adapter"]
BatchNorm = Literal["frozen", "adapt", "train"]
Stride = Literal[16, 32]
Channels = Annotated[int, Field(ge=1, le=4096)]


def setting(default: Any, description: str, *, origin: Origin = "ours", unit: str = "", **limits: Any) -> Any:
    """One documented field: its default, what it means, whose choice it is, its unit and its limits."""
    return Field(default, description=description, json_schema_extra={"origin": origin, "unit": unit}, **limits)


def value_problem(problem: Any) -> str:
    """What pydantic says against a value, with the value and where it stands."""
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}, received {problem['input']!r}"


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Intake(Section):
    """Which images, and which exam of a woman, take part."""

    for_processing: bool = setting(
        False, "take raw detector data (For Processing) too, shown by their own intensity relationship"
    )
    synthesised: bool = setting(False, "take 2D images computed from tomosynthesis too")
    repeated_view: Literal["last", "first"] = setting("last", "of several images of one view in an exam, the one kept")
    analysed_exam: Literal["first", "last"] = setting("first", "of several exams of a woman, the one analysed")
    incomplete_exams: Literal["keep", "leave-out"] = setting(
        "keep", "an exam that lacks a standard view; one of a woman without the other breast lacks none of that side"
    )


class Split(Section):
    """How women are dealt to the folds."""

    training: float = setting(0.70, "share of the women in the training fold", origin="inferred", gt=0, lt=1)
    validation: float = setting(0.15, "share of the women in the validation fold", origin="inferred", gt=0, lt=1)
    test: float = setting(0.15, "share of the women in the test fold", origin="inferred", gt=0, lt=1)
    calibration: float = setting(
        0.0,
        "share of the women in a fold that nothing but conformal calls of new exams (BAC likely, unlikely) is made from, at "
        "the cohort's own prevalence; 0 for none",
        ge=0,
        lt=1,
    )
    seed: int = setting(2024, "seed of the dealing", ge=0)
    repeats: int = setting(
        1,
        "how many times the women are dealt anew, each time with runs of its own, so that architectures can be compared and "
        "not only these trained models; the k-th repeat is dealt by seed + k",
        ge=1,
        le=100,
    )
    training_prevalence: float = setting(
        0.33,
        "share of positives in the training fold once all-negative women are dropped at random; one negative woman always "
        "stays, and a prevalence that is already higher is left alone, so 0 drops nobody",
        origin="inferred",
        ge=0,
        le=1,
    )
    training_prevalence_of: Literal["women", "views"] = setting(
        "women", "the unit in which training_prevalence is stated", origin="inferred"
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> Split:
        total = self.training + self.validation + self.calibration + self.test
        if abs(total - 1) > 1e-6:
            named = "training + validation + calibration + test" if self.calibration else "training + validation + test"
            raise ValueError(f"{named} must be 1, received {total:.3f}")
        return self


class Prepare(Section):
    """How an image becomes a network's input."""

    height: int = setting(1536, "rows of a prepared view", origin="unverified", unit="pixels", ge=32, le=8192)
    width: int = setting(768, "columns of a prepared view", origin="unverified", unit="pixels", ge=32, le=8192)
    darkest_percentile: float = setting(1.0, "percentile of the breast's grey values that becomes black", unit="%", ge=0, lt=50)
    brightest_percentile: float = setting(
        99.95, "percentile of the breast's grey values that becomes white", unit="%", gt=50, le=100
    )


class Labels(Section):
    """Which label a training view carries."""

    views_without_label: Literal["leave-out", "inherit"] = setting(
        "inherit",
        "a view of a positive woman or breast whose own label is not known: left out of training, or trained on the "
        "coarser label (in the study about one view in four of a positive woman shows no BAC, so that much label noise)",
    )
    consensus: Literal["majority", "adjudicated", "any"] = setting(
        "majority",
        "the label where several readers gave one: what most of them say (a tie is unknown), what all say or else the "
        "adjudicator, or positive as soon as one says so",
    )
    unmarked: Literal["unknown", "negative"] = setting(
        "unknown", "what a view or breast is that a table of findings (CBIS-DDSM, EMBED) lists without a vascular one"
    )


class Transfer(Section):
    """What is trained, and what replaces the classifier."""

    policy: Policy = setting(
        "last-conv",
        "what is trained beside the new layers: nothing of the base (head), its last convolution (last-conv, the paper's), its "
        "last block, all of it (full), or the same 36,864 weights in every network: some output channels of the last "
        "convolution (equal-slice), or a residual bottleneck on the last map (equal-adapter)",
        origin="paper",
    )
    batchnorm: BatchNorm = setting(
        "frozen",
        "BatchNorms of the base: as ImageNet left them (frozen, our reading of the paper), with statistics estimated anew on "
        "the training fold and then frozen (adapt), or trained like the rest, by the statistics of each batch (train)",
    )
    stride: Stride = setting(
        32,
        "input pixels to a cell of the last map: 32 leaves every network as it is (VGG's has 16), 16 takes the last stride out "
        "of the others",
        unit="pixels",
    )
    earliest_share: float = setting(
        0.1,
        "policy full: the first layer's share of the convolution's learning rate; between first and last it falls "
        "geometrically",
        gt=0,
        le=1,
    )
    pooling: Literal["average", "maximum", "both"] = setting(
        "average", "how the last feature map becomes a vector: its average, its maximum, or both one after the other"
    )
    widths: tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]] = setting(
        (256, 64), "units of the two new fully connected layers; a single sigmoid unit follows", unit="units"
    )
    dropout: float = setting(0.3, "share of units dropped after each new layer in training", ge=0, lt=1)


class Factors(Section):
    """Which variants are run beside the protocol's own, crossed; they decide which runs there are, and the result of none."""

    policy: tuple[Policy, ...] = setting((), "transfer policies to run beside the protocol's own")
    batchnorm: tuple[BatchNorm, ...] = setting((), "BatchNorm policies to run beside the protocol's own")
    stride: tuple[Stride, ...] = setting((), "strides to run beside the protocol's own", unit="pixels")
    size: tuple[str, ...] = setting(
        (), "sizes of a prepared view, as HEIGHTxWIDTH, to run beside the protocol's own", unit="pixels"
    )

    @field_validator("size")
    @classmethod
    def _sizes_can_be_read(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        for size in sizes:
            numbers = size.split("x")
            if len(numbers) != 2 or not all(text.isdecimal() and 32 <= int(text) <= 8192 for text in numbers):
                raise ValueError("each size must be HEIGHTxWIDTH, both 32 to 8192, such as 1024x512")
        return tuple(f"{int(height)}x{int(width)}" for height, width in (size.split("x") for size in sizes))

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> Factors:
        """Factors as they stand on a command line, each such as "policy=last-conv,equal-slice". Raises UsageError."""
        found: dict[str, list[str | int]] = {}
        for text in texts:
            name, sign, levels = text.partition("=")
            listed = [level.strip() for level in levels.split(",") if level.strip()]
            if name.strip() not in cls.model_fields or not sign or not listed:
                raise UsageError(
                    f"--factors {text}: expected FACTOR=LEVEL,LEVEL with a factor of {', '.join(cls.model_fields)}"
                )
            whole = [int(level) if name.strip() == "stride" and level.isdecimal() else level for level in listed]
            found.setdefault(name.strip(), []).extend(whole)
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise UsageError(f"--factors: {'; '.join(value_problem(problem) for problem in error.errors())}") from error


class Augmentation(Section):
    """How training views are varied; validation and test views never are. Every draw is uniform within its limits."""

    variants: int = setting(
        0,
        "drawn variants of each training view, of which an epoch takes one at random; with --cache off each epoch draws a "
        "fresh one; 0 trains on the views as they are",
        ge=0,
        le=100,
    )
    rotation: float = setting(5.0, "largest rotation, either way", unit="degrees", ge=0, le=20)
    shift: float = setting(0.03, "largest shift, either way, as a share of height and width", ge=0, le=0.2)
    scale: float = setting(0.05, "largest enlargement or reduction, as a share", ge=0, le=0.3)
    brightness: float = setting(0.05, "largest change of all grey values, as a share of white", ge=0, le=0.3)
    contrast: float = setting(0.1, "largest stretch or squeeze of grey values about their middle, as a share", ge=0, le=0.5)
    flip_cc: bool = setting(True, "mirror CC views top to bottom, one in two; MLO views have an upper side and stay")
    seed: int = setting(16, "seed of the variants that are kept", ge=0)


class Training(Section):
    """The one set of hyperparameters for all networks."""

    optimiser: Literal["adam", "sgd"] = setting("adam", "Adam, or SGD with momentum 0.9")
    learning_rate: float = setting(1e-3, "step size of the new layers", gt=0)
    convolution_learning_rate: float = setting(1e-4, "step size of what is trained of the base", gt=0)
    weight_decay: float = setting(
        1e-4, "weight decay of all trained weights (decoupled, as in AdamW; with sgd an L2 penalty)", ge=0
    )
    batch_size: int = setting(16, "views a step", unit="views", ge=1)
    views_at_once: int = setting(
        4,
        "where activations are not kept: views whose gradients are computed together; a step adds them up over its batch",
        unit="views",
        ge=1,
    )
    epochs: int = setting(20, "passes over the training views at most", unit="epochs", ge=1)
    patience: int = setting(
        10, "stop after this many epochs without a lower validation loss; 0 never stops early", unit="epochs", ge=0
    )
    keep: Literal["best", "last"] = setting("best", "the weights kept: of the lowest validation loss, or of the last epoch")
    class_weighting: Literal["balanced", "none"] = setting(
        "balanced", "weigh both classes alike in the loss, or each view alike"
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = setting((0,), "one run a network for each of these", min_length=1)
    dtype: Literal["auto", "bfloat16", "float32"] = setting(
        "auto",
        "arithmetic of the networks: auto is bfloat16 where the hardware multiplies it faster than float32, else float32",
    )

    @field_validator("seeds")
    @classmethod
    def _each_seed_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed may stand once")
        return seeds


class Evaluation(Section):
    """How scores become sentences."""

    aggregation: Literal["validation", "maximum", "mean", "noisy-or"] = setting(
        "validation",
        "how the scores of views become a breast's and a woman's: the maximum, the mean, noisy-or (1 minus the product of "
        "1 - score), or the one of these with the highest mean AUC-ROC by woman on validation, one for all networks",
    )
    threshold: Literal["f1", "youden", "sensitivity", "specificity"] = setting(
        "f1",
        "how the threshold of each unit is chosen on validation: the best F1, the best Youden index, or the best "
        "specificity (sensitivity) at a sensitivity (specificity) of at least threshold_rate",
    )
    threshold_rate: float = setting(
        0.9, "the sensitivity or specificity that a threshold chosen for it keeps on validation", gt=0, le=1
    )
    prevalence: float = setting(
        0.13,
        "share of women with BAC for which predictive values and net benefit are stated beside the fold's own",
        origin="paper",
        gt=0,
        lt=1,
    )
    alpha: float = setting(
        0.1,
        "of women with BAC at most this share is called BAC unlikely, of those without at most this share BAC likely, on "
        "average over exchangeable exams; needs a calibration fold with at least 1 / alpha - 1 women of each class",
        gt=0,
        lt=0.5,
    )
    margin: float = setting(
        0.05, "two networks whose difference surely lies between minus and plus this count as equivalent", gt=0, lt=1
    )
    resamples: int = setting(2000, "bootstrap resamples of women", ge=200, le=100_000)
    confidence: float = setting(0.95, "coverage of every interval", gt=0.5, lt=1)
    seed: int = setting(80, "seed of the resampling", ge=0)


class Explain(Section):
    """Which heat maps are made."""

    method: Literal["grad-cam++", "grad-cam", "integrated-gradients", "occlusion"] = setting(
        "grad-cam++",
        "the kind of map; the last two look at the image itself, need the extra explain and cost many passes",
        origin="paper",
    )
    layer: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = setting(
        "cam",
        "where the map is made: cam (the class activation layer), stride-8 (the last step of that stride), or a network's step",
    )
    views_of_each_kind: int = setting(4, "hits, misses and false alarms of each network that are shown", unit="views", ge=1)
    tolerance_mm: float = setting(
        2.0, "how far from the mask a map still counts as lying on it, in the breast's plane", unit="mm", ge=0, le=50
    )
    tolerance_pixels: float = setting(8.0, "the same in a prepared view whose file has no spacing", unit="pixels", ge=0, le=500)
    trust_views: int = setting(
        12, "validation views, those with a mask first, on which it is tested whether maps can be trusted", unit="views", ge=2
    )
    random_limit: float = setting(
        0.5,
        "highest mean rank correlation of the maps with those of the same network once all its weights are random; above it "
        "they do not show what was learnt",
        ge=-1,
        le=1,
    )
    permuted_limit: float = setting(0.5, "the same, with those of a network trained on permuted labels", ge=-1, le=1)
    seeds_limit: float = setting(0.5, "lowest mean rank correlation of the maps of two seeds", ge=-1, le=1)
    flip_limit: float = setting(
        0.7, "lowest mean rank correlation of a view's map with that of its mirror image, mirrored back", ge=-1, le=1
    )
    dose_limit: float = setting(
        0.5, "lowest mean rank correlation of the dose of calcification, taken out or put in, with score and map", ge=-1, le=1
    )


class Segmentation(Section):
    """How the U-Net is trained on masks that stands beside the heat maps, see `tramtrack segment`."""

    channels: tuple[Channels, Channels, Channels, Channels, Channels] = setting(
        (8, 16, 32, 64, 128), "features at each of its five resolutions, each half the one before", unit="features"
    )
    patch: int = setting(
        128,
        "rows and columns of the patch that an epoch takes from each training view; one larger than the view is the whole view",
        unit="pixels",
        ge=32,
        le=8192,
    )
    on_bac: float = setting(
        0.5,
        "share of the patches of a view with BAC whose centre is a marked pixel; all others lie anywhere in the breast",
        ge=0,
        le=1,
    )
    batch_size: int = setting(8, "patches a step", unit="patches", ge=1)
    learning_rate: float = setting(2e-3, "step size (Adam; the loss is soft Dice plus cross-entropy)", gt=0)
    epochs: int = setting(40, "passes over the training views at most", unit="epochs", ge=1)
    patience: int = setting(
        10, "stop after this many epochs without a lower validation loss; 0 never stops early", unit="epochs", ge=0
    )
    seed: int = setting(0, "seed of its first weights and of every draw", ge=0)


class Burden(Section):
    """How the burden of views becomes a woman's, and how many women or events a statement about it needs."""

    woman: Literal["sum", "mean"] = setting(
        "sum",
        "a woman's area, from which her band follows: the sum of her views' areas or their mean; which of them the bands' "
        "source takes is not known",
    )
    percentile_years: int = setting(
        5, "a woman's percentile is among women of the cohort up to so many years older or younger", unit="years", ge=1, le=50
    )
    percentile_women: int = setting(30, "fewer women of her age than this give no percentile", unit="women", ge=2)
    events_per_coefficient: int = setting(
        10,
        "an association with a 0/1 outcome needs so many events, and so many women without, for each coefficient (age and "
        "burden); one with a number so many women",
        ge=5,
    )
