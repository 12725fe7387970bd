"""The book's chapters on fine-tuning and on Kaggle's images: training on devices, folders of images, labels."""

import re

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from neoclassic.base.errors import UsageError
from neoclassic.compat import d2l


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def images(n, classes=3):
    torch.manual_seed(0)
    return TensorDataset(torch.rand(n, 3, 8, 8), torch.arange(n) % classes)


def small(classes=3):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, classes))


def test_a_batch_trains_as_plain_torch_does_and_its_losses_are_summed():
    X, y = images(7).tensors
    twins = small(), small()
    total, correct = d2l.train_batch_ch13(
        twins[0],
        X,
        y,
        nn.CrossEntropyLoss(reduction="none"),
        torch.optim.SGD(twins[0].parameters(), 0.01),
        [d2l.cpu()],
    )
    loss = nn.functional.cross_entropy(twins[1](X), y, reduction="sum")
    assert correct == (twins[1](X).argmax(1) == y).sum()
    loss.backward()
    for trained, twin in zip(twins[0].parameters(), twins[1].parameters(), strict=True):
        assert torch.allclose(trained, twin - 0.01 * twin.grad, atol=1e-6)
    loss = float(loss.detach())
    assert float(total) == pytest.approx(loss)
    assert not total.requires_grad
    mean, _ = d2l.train_batch_ch13(
        twins[1], X, y, nn.CrossEntropyLoss(), torch.optim.SGD(twins[1].parameters(), 0.0), ["cpu"]
    )
    assert float(mean) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("batches", [1, 3, 11])
def test_train_ch13_prints_what_the_book_prints(capsys, batches):
    train_iter, test_iter = DataLoader(images(4 * batches), 4), DataLoader(images(6), 4)
    net = small()
    trainer = torch.optim.Adam(net.parameters(), lr=0.001)
    d2l.train_ch13(net, train_iter, test_iter, nn.CrossEntropyLoss(reduction="none"), trainer, 2)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"loss \d+\.\d{3}, train acc [01]\.\d{3}, test acc [01]\.\d{3}", lines[-2])
    assert re.fullmatch(r"[\d.]+ examples/sec on \[device\(type='(cpu|cuda|mps|xpu)'.*\]", lines[-1])
    assert len([line for line in lines if "train loss" in line]) == 2 * (batches if batches < 5 else 6)


def test_nothing_to_train_is_an_error_of_one_line():
    net = small()
    trainer = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(UsageError, match="nothing to train: 0 batches"):
        d2l.train_ch13(net, [], [], nn.CrossEntropyLoss(), trainer, 1, ["cpu"])


def test_several_devices_share_a_batch():
    X, y = torch.arange(10.0).reshape(5, 2), torch.arange(5)
    X_shards, y_shards = d2l.split_batch(X, y, [d2l.cpu(), torch.device("meta")])
    assert [(len(a), len(b)) for a, b in zip(X_shards, y_shards, strict=True)] == [(3, 3), (2, 2)]
    assert [shard.device.type for shard in (*X_shards, *y_shards)] == ["cpu", "meta"] * 2
    assert X_shards[0].equal(X[:3])
    with pytest.raises(UsageError, match="not 4 for 5"):
        d2l.split_batch(X, y[:4], ["cpu"])


def test_with_several_devices_the_network_is_copied_to_each(monkeypatch, capsys):
    """Without accelerators, a stand-in for DataParallel shows which devices it would use."""
    used = []

    class Parallel(nn.Module):
        def __init__(self, module, device_ids):
            super().__init__()
            self.module = module
            used.append(device_ids)

        def forward(self, X):
            return self.module(X)

    monkeypatch.setattr(nn, "DataParallel", Parallel)
    net, data = small(), DataLoader(images(8), 4)
    trainer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = net[1].weight.detach().clone()
    d2l.train_ch13(net, data, data, nn.CrossEntropyLoss(reduction="none"), trainer, 1, ["cpu", "cpu"])
    assert used == [["cpu", "cpu"]]
    assert not net[1].weight.equal(before)
    assert capsys.readouterr().out.endswith("examples/sec on ['cpu', 'cpu']\n")


# ── Kaggle's folders ─────────────────────────────────────────────────────────────────────────────────


def photos(folder, names):
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(folder / f"{name}.png")


def test_kaggles_images_become_folders_that_torchvision_reads(tmp_path):
    names = [str(i) for i in range(1, 13)]
    labels = {name: "frog" if int(name) % 3 else "ship" for name in names}  # 8 frogs, 4 ships
    photos(tmp_path / "k" / "train", names)
    photos(tmp_path / "k" / "test", ["1", "2"])
    (tmp_path / "k" / "trainLabels.csv").write_text("id,label\n" + "".join(f"{a},{b}\n" for a, b in labels.items()))
    read = d2l.read_csv_labels("k/trainLabels.csv")
    assert read == labels
    assert d2l.reorg_train_valid("k", read, 0.5) == 2
    d2l.reorg_test("k")
    sets = {
        part: torchvision.datasets.ImageFolder(f"k/train_valid_test/{part}")
        for part in ("train", "valid", "train_valid", "test")
    }
    assert {part: len(found) for part, found in sets.items()} == {"train": 8, "valid": 4, "train_valid": 12, "test": 2}
    assert sets["train"].classes == ["frog", "ship"]
    assert sets["test"].classes == ["unknown"]
    assert sorted(p.stem for p in (tmp_path / "k/train_valid_test/valid/frog").iterdir()) == ["1", "10"]


def test_a_table_that_does_not_fit_is_one_line(tmp_path):
    photos(tmp_path / "k" / "train", ["1", "2"])
    with pytest.raises(UsageError, match="no row for '2'"):
        d2l.reorg_train_valid("k", {"1": "frog"}, 0.1)
    (tmp_path / "labels.csv").write_text("id,label\n1,frog\n2\n")
    with pytest.raises(UsageError, match="row 3: a name and a label are needed, not 1 columns"):
        d2l.read_csv_labels("labels.csv")


def test_files_and_folders_are_made_as_in_the_older_editions(tmp_path):
    d2l.mkdir_if_not_exist("../" + tmp_path.name + "/a/b")
    d2l.mkdir_if_not_exist(["a", "c"])
    (tmp_path / "x.txt").write_text("x")
    d2l.copyfile("x.txt", "a/d")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["b", "c", "d"]
    assert (tmp_path / "a" / "d" / "x.txt").read_text() == "x"
