"""Kept activations: the same numbers, resumed at the next batch, thrown away when they no longer fit."""

from __future__ import annotations

import mmap
import os

import numpy as np
import psutil
import pytest
import torch

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.imaging.prepare import png_bytes
from tramtrack.training import activations as room
from tramtrack.training.activations import TRUNK_BATCH, Activations, batches_of, compute_activations
from tramtrack.training.loader import batches

CPU = torch.device("cpu")
SIZE = (64, 32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """20 prepared views: two whole batches and a rest."""
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    return [
        store.write_bytes(folder / f"{number}.png", png_bytes(rng.integers(0, 65536, SIZE, dtype=np.uint16)))
        for number in range(20)
    ]


def compute(model, files, folder, begin=True, **identity):
    known, settings = {"network": "vgg16", **identity}, {"size": SIZE, "dtype": torch.float32, "device": CPU}
    return compute_activations(model, files, folder, known, **settings, what="test", begin=begin)


def everything(activations):
    return activations.batch(torch.arange(len(activations)), CPU)


def shift_batchnorms(model):
    """Give every BatchNorm statistics and weights of its own, as training on photographs does."""
    generator = torch.Generator().manual_seed(2)
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.running_mean, module.bias.data):
                tensor.uniform_(-0.2, 0.2, generator=generator)


@pytest.mark.parametrize("network", ("vgg16", "mobilenetv2", "resnet50v2", "densenet121"))
def test_they_are_what_the_trunk_makes(network, make_classifier, files, tmp_path):
    """Equal to rounding: the trunk that runs once has its BatchNorms folded into the convolutions."""
    model = make_classifier(network).eval()
    shift_batchnorms(model)
    kept = everything(compute(model, files, tmp_path / "cache"))
    with torch.inference_mode():
        direct = [model.trunk(grey) for grey in batches(files, TRUNK_BATCH, CPU)]
    assert len(kept) == len(direct[0]) == (1 if network in ("vgg16", "mobilenetv2") else 2)
    for number, tensor in enumerate(kept):
        expected = torch.cat([state[number] for state in direct])
        assert torch.allclose(tensor, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_16_bit_views_are_read_as_16_bit(files):
    from PIL import Image

    first = next(batches(files, 4, CPU))
    assert first.shape == (4, 1, *SIZE)
    assert first.max() > 60000
    assert np.array_equal(first[0, 0].numpy(), np.asarray(Image.open(files[0])).astype(np.float32))


def test_an_interrupted_pass_goes_on_at_the_next_batch(make_classifier, files, tmp_path, monkeypatch):
    model = make_classifier().eval()
    whole = everything(compute(model, files, tmp_path / "whole"))
    seen = []

    def stopping(views, size, device, first=0):
        for number, grey in enumerate(batches(views, size, device, first), start=first):
            seen.append(number)
            if len(seen) == 2:
                raise KeyboardInterrupt
            yield grey

    monkeypatch.setattr(room, "batches", stopping)
    with pytest.raises(KeyboardInterrupt):
        compute(model, files, tmp_path / "cut")
    resumed = everything(compute(model, files, tmp_path / "cut"))
    assert seen == [0, 1, 1, 2]
    assert all(torch.equal(one, other) for one, other in zip(whole, resumed, strict=True))
    compute(model, files, tmp_path / "cut")
    assert seen == [0, 1, 1, 2]


@pytest.mark.parametrize(("reserved", "cut"), [(0, 0), (0, 1000), (1, None)], ids=("empty", "partial", "missing"))
def test_a_kill_while_files_are_laid_out_is_gone_on_from(reserved, cut, make_classifier, files, tmp_path, monkeypatch):
    """DenseNet has two crossing tensors: the first file is empty or partial, or whole and the second not there."""
    model = make_classifier("densenet121").eval()
    whole = everything(compute(model, files, tmp_path / "whole"))
    reserve, begun = room._reserve, []

    def dying(descriptor, size, folder):
        begun.append(size)
        if len(begun) <= reserved:
            return reserve(descriptor, size, folder)
        if cut is None:
            (folder / "crossing-1.bin").unlink()
        else:
            os.truncate(descriptor, cut)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(room, "_reserve", dying)
        compute(model, files, tmp_path / "cut")
    resumed = everything(compute(model, files, tmp_path / "cut"))
    assert all(torch.equal(one, other) for one, other in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("size", (None, 0, 4096), ids=("missing", "empty", "partial"))
def test_a_file_that_is_not_whole_is_laid_out_and_filled_anew(size, make_classifier, files, tmp_path):
    """Whatever its manifest and its journal say."""
    model = make_classifier("densenet121").eval()
    whole = [tensor.clone() for tensor in everything(compute(model, files, tmp_path / "cache"))]
    hurt = tmp_path / "cache" / "crossing-1.bin"
    hurt.unlink() if size is None else os.truncate(hurt, size)
    with pytest.raises(TramtrackError, match="not the activations that this run needs"):
        compute(model, files, tmp_path / "cache", begin=False)
    again = everything(compute(model, files, tmp_path / "cache"))
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))


@pytest.mark.parametrize("order", ((0, 1, 2), (2, 0, 1)))
def test_shares_in_any_order_give_the_same_file(order, make_classifier, files, tmp_path, monkeypatch):
    """20 views in 3 batches, a share each."""
    model = make_classifier("mobilenetv2").eval()
    compute(model, files, tmp_path / "whole")
    arguments = {"size": SIZE, "dtype": torch.float32, "device": CPU, "what": "test"}
    cache = tmp_path / "cache"
    with pytest.raises(TramtrackError, match="not the activations that this run needs"):
        compute_activations(model, files, cache, {"network": "vgg16"}, **arguments, share=(0, 3), begin=False)
    compute_activations(model, files, cache, {"network": "vgg16"}, **arguments, share=(3, 3))
    assert not list(cache.glob("done*.jsonl"))
    for k in order:
        compute_activations(model, files, cache, {"network": "vgg16"}, **arguments, share=(k, 3), begin=False)
    assert [path.name for path in sorted(cache.glob("done*"))] == ["done-0.jsonl", "done-1.jsonl", "done-2.jsonl"]
    assert (cache / "crossing-0.bin").read_bytes() == (tmp_path / "whole" / "crossing-0.bin").read_bytes()
    monkeypatch.setattr(room, "batches", lambda *_: pytest.fail("computed again"))
    compute_activations(model, files, cache, {"network": "vgg16"}, **arguments, begin=False)


@pytest.mark.parametrize("total", (1, 7, 100))
@pytest.mark.parametrize("view_bytes", ([4096], [6 * 3 * 512 * 4, 100], [12]))
def test_shares_are_disjoint_whole_and_begin_at_pages(total, view_bytes):
    for count in (1, 2, 5):
        borders = [batches_of((k, count), total, view_bytes) for k in range(count)]
        covered = [number for first, end in borders for number in range(first, end)]
        assert covered == list(range(total))
        for first, end in borders:
            for size in view_bytes:
                assert first == end or first * TRUNK_BATCH * size % mmap.PAGESIZE == 0
    assert batches_of((3, 3), total, view_bytes) == (total, total)


def test_activations_of_other_weights_are_not_used(make_classifier, files, tmp_path):
    one = everything(compute(make_classifier(seed=1).eval(), files, tmp_path / "cache", weights="one"))
    one = [tensor.clone() for tensor in one]
    other = everything(compute(make_classifier(seed=2).eval(), files, tmp_path / "cache", weights="other"))
    assert not torch.equal(one[0], other[0])


def test_the_size_is_said_before_the_disk_is_taken(make_classifier, files, tmp_path, monkeypatch):
    """DenseNet121 hands 2x1 cells of 992 and of 128 features a view to its last convolution."""
    happened, reserve = [], room._reserve
    monkeypatch.setattr(room, "announce", happened.append)
    monkeypatch.setattr(room, "_reserve", lambda *arguments: (happened.append(arguments[1]), reserve(*arguments)))
    folder, size = tmp_path / "cache", 20 * 2 * (992 + 128) * 4
    compute(make_classifier("densenet121").eval(), files, folder)
    said, *taken = happened
    assert said == f"test of 20 views take {size / 1e9:.2f} GB in {folder}, removed after the last seed"
    assert sum(taken) == sum(file.stat().st_size for file in folder.glob("*.bin")) == size
    compute(make_classifier("densenet121").eval(), files, folder)
    assert len(happened) == 3, "what is there already takes nothing"


def test_a_disk_without_room_is_refused_with_the_size(make_classifier, files, tmp_path, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(TramtrackError, match=r"need 0\.0 GB, the disk has 0\.0 GB free"):
        compute(make_classifier(), files, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.bin"))


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the platform cannot be told to take pages back")
def test_what_was_written_and_read_does_not_stay_in_memory(tmp_path):
    views, file = 64, tmp_path / "crossing-0.bin"
    file.write_bytes(b"")
    os.truncate(file, views * 2**20)
    pages = room._map(file)
    tensor = torch.frombuffer(pages, dtype=torch.float32).view(views, 32, 16, 512)
    before = psutil.Process().memory_info().rss
    for number in range(views):
        tensor[number] = number
        room._let_go([pages])
    kept = Activations([tensor], [pages])
    assert all(kept.batch(torch.tensor([number]), CPU)[0].unique() == number for number in range(views))
    assert psutil.Process().memory_info().rss - before < 2**20 * views / 4
