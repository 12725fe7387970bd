"""torchvision's weights: every network that it has gives the same outputs with the same numbers, and back."""

import numpy as np
import pytest
from helpers import torchvision_module
from kinds import each

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.model.torchvision import NETWORKS, from_torchvision, read_weights, to_torchvision
from neoclassic.networks import entry, network

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from safetensors.numpy import save_file  # noqa: E402

from neoclassic.torch import build, create, load  # noqa: E402


def theirs(name, **options):
    """torchvision's network with random weights and random statistics, made without drawing its own first."""
    module = torchvision_module(name, **options)
    module.to_empty(device="cpu")
    rng = torch.Generator().manual_seed(1)
    for key, tensor in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.zero_()
        elif tensor.dim() > 1:
            tensor.uniform_(-1, 1, generator=rng).mul_((3 / tensor[0].numel()) ** 0.5)
        else:
            tensor.uniform_(0.5, 1.5, generator=rng)
    return module.eval()


def ours(name, state, **options):
    tree = network(name, **options)
    weights, notes = from_torchvision(name, state, tree, entry(name).input)
    module = build(tree, entry(name).input)
    load(module, weights)
    return module.eval(), weights, notes


def undropped(module):
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return module.train()


def close(a, b):
    """Equal within 1e-4 of the largest number."""
    error, scale = float((a - b).abs().max()), float(b.abs().max())
    assert a.shape == b.shape
    assert error <= 1e-4 * scale, f"largest error {error:.3g} where numbers go to {scale:.3g}"


@pytest.mark.parametrize("name", each(NETWORKS))
def test_same_outputs_and_back_bit_for_bit(name):
    module = theirs(name)
    state = (
        {key: tensor.clone() for key, tensor in module.state_dict().items()} if ":bn" in name else module.state_dict()
    )
    mine, weights, _ = ours(name, state)
    side = 224 if name.startswith(("vgg", "alexnet")) else 96
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    back = to_torchvision(name, weights)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key].numpy()) for key in state)
    with torch.inference_mode():
        close(mine(images), module(images))


WITH_NORM = [name for name in NETWORKS if not name.startswith(("vgg", "alexnet"))]


@pytest.mark.parametrize("name", each(["vgg11:bn", *WITH_NORM]))
def test_in_training_same_outputs_auxiliary_ones_too_and_same_batch_statistics(name):
    module = theirs(name)
    mine, _, _ = ours(name, {key: tensor.clone() for key, tensor in module.state_dict().items()})
    side = 224 if name.startswith("vgg") else 96
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        a, b = undropped(mine)(images), undropped(module)(images)
    if name.startswith("googlenet"):
        for x, y in zip(a, (b.logits, b.aux_logits1, b.aux_logits2), strict=True):
            close(x, y)
    else:
        close(a, b)
    moved = {key: array.numpy() for key, array in mine.state_dict().items() if "num_batches" not in key}
    after = to_torchvision(name, moved)
    for key, tensor in module.state_dict().items():
        if "running" in key:
            close(torch.from_numpy(after[key]), tensor)


# ── what does not fit ────────────────────────────────────────────────────────────────────────────────


def test_other_classes_keep_all_but_the_head_and_say_so():
    state = theirs("resnet18").state_dict()
    tree = network("resnet18", classes=7)
    weights, notes = from_torchvision("resnet18", state, tree, (3, 224, 224))
    assert notes == ["the last layer starts afresh: the file has 1000 classes, the network 7"]
    assert weights["fc.weight"].shape == (7, 512)
    assert weights["fc.weight"].std() > 0
    assert np.array_equal(weights["stem.conv.weight"], state["conv1.weight"].numpy())


def test_grey_images_get_the_sum_of_the_first_kernels():
    state = theirs("densenet121").state_dict()
    weights, notes = from_torchvision("densenet121", state, network("densenet121"), (1, 224, 224))
    assert notes == ["the first kernels are summed over their 3 channels"]
    first = state["features.conv0.weight"].numpy()
    assert weights["stem.conv.weight"] == pytest.approx(first[:, :1] + first[:, 1:2] + first[:, 2:], abs=1e-6)


def test_googlenet_without_its_auxiliary_heads_gets_fresh_ones():
    state = {key: t for key, t in theirs("googlenet:torchvision").state_dict().items() if not key.startswith("aux")}
    weights, notes = from_torchvision("googlenet:torchvision", state, network("googlenet:torchvision"), (3, 224, 224))
    assert "the file has no auxiliary heads: they start afresh" in notes
    assert weights["auxiliary2.fc1.weight"].shape == (1024, 2048)


def test_keys_that_do_not_fit_are_listed_in_one_line():
    state = dict(theirs("mobilenet-v2").state_dict())
    state["features.0.0.wight"] = state.pop("features.0.0.weight")
    state["features.18.1.bias"] = state["features.18.1.bias"][:5]
    with pytest.raises(NeoclassicError) as error:
        from_torchvision("mobilenet-v2", state, network("mobilenet-v2"), (3, 224, 224))
    assert str(error.value) == (
        "not torchvision's weights of mobilenet-v2: 260 of 262 arrays fit; missing features.0.0.weight; "
        "surplus features.0.0.wight; features.18.1.bias is 5, not 1280"
    )


def test_weights_of_another_network_name_the_first_of_each_kind_and_count_the_others():
    state = theirs("mobilenet-v2").state_dict()
    with pytest.raises(
        NeoclassicError, match=r"0 of 102 arrays fit; missing conv1.weight, .* and 96 more; surplus .* more$"
    ):
        from_torchvision("resnet18", state, network("resnet18"), (3, 224, 224))


def test_a_network_with_other_knobs_has_no_published_weights():
    with pytest.raises(UsageError, match="its published structure only"):
        from_torchvision("resnet18", {}, network("resnet18", blocks=(3, 4, 6, 3)), (3, 224, 224))


def test_a_network_that_torchvision_lacks():
    with pytest.raises(UsageError, match=r"torchvision has no 'nin'; it has alexnet:torchvision, vgg11, "):
        to_torchvision("nin", {})


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ["weights.pth", "checkpoint.pth", "weights.safetensors"])
def test_files_are_read(tmp_path, file):
    state = theirs("mobilenet-v3-small").state_dict()
    if file.endswith(".pth"):
        torch.save({"state_dict": state} if file == "checkpoint.pth" else state, tmp_path / file)
    else:
        save_file({key: tensor.numpy() for key, tensor in state.items()}, tmp_path / file)
    found = read_weights(tmp_path / file)
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[key], state[key].numpy()) for key in state)


def test_a_module_is_created_from_a_file_and_warns_of_what_starts_afresh(tmp_path):
    torch.save(theirs("mobilenet-v3-small").state_dict(), tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match="mobilenet-v3-small: the last layer starts afresh"):
        module = create("mobilenet-v3-small", classes=5, weights=tmp_path / "weights.pth")
    wanted = torch.load(tmp_path / "weights.pth")["features.0.0.weight"]
    assert torch.equal(module.state_dict()["stem.conv.weight"], wanted)


def test_the_old_names_of_the_published_densenet_files_are_understood():
    state = theirs("densenet121").state_dict()
    old = {}
    for key, tensor in state.items():
        for kind in ("norm", "conv"):
            key = (
                key.replace(f".{kind}1.", f".{kind}.1.").replace(f".{kind}2.", f".{kind}.2.")
                if "denselayer" in key
                else key
            )
        old[key] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    weights, notes = from_torchvision("densenet121", old, network("densenet121"), (3, 224, 224))
    assert notes == []
    assert np.array_equal(
        weights["block1.layer1.new.bn1.weight"], state["features.denseblock1.denselayer1.norm1.weight"]
    )


class Surprise:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", ["nothing", "rubbish", "code"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_weights_is_one_clear_line_and_never_executed(tmp_path, capsys, content, suffix):
    path = tmp_path / f"weights{suffix}"
    if content == "rubbish":
        path.write_bytes(b"rubbish")
    elif content == "code":
        torch.save({"weight": Surprise()}, path)
    with pytest.raises(NeoclassicError, match=r"no weights at|cannot be read as weights") as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
