"""Open models of other libraries, and print for each kind how far its logits are from those of its own library.

    python benchmarks/formats_in.py > kinds.md

It needs ``pip install transformers open_clip_torch lightning`` besides. All networks are small, with random weights.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import Tensor, nn

from labelwise.models.backbone import ModelSource, open_model
from labelwise.models.classifier import InputSpec

ANY = InputSpec("image", 0, 3, (0.0,) * 3, (1.0,) * 3)
HUBCONF = "import torchvision\n\ndef tiny(pretrained=False, **more):\n    return torchvision.models.resnet18(**more)\n"


def main() -> None:
    print("| what | how it is named | largest difference |\n|---|---|---:|")
    kinds: list[Callable[[Path], tuple[str, str, float]]] = [
        *(of_timm, of_transformers, of_torchvision, of_hub, of_lightning, without_head, of_open_clip),
        *(lambda folder, prefix=prefix: with_prefix(folder, prefix) for prefix in ("module.", "model.", "_orig_mod.")),
    ]
    for kind in kinds:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            what, how, gap = kind(Path(folder))
        print(f"| {what} | `{how}` | {gap:.0e} |", flush=True)


def difference(source: ModelSource, args: dict[str, Any], expected: Callable[[Tensor], Tensor], size: int) -> float:
    """Between the logits of a network here and those of its own library, of eight normalised random images."""
    model = open_model(source, args, InputSpec("image", size, 3, ANY.mean, ANY.std)).classifier.eval()
    x = torch.rand(8, 3, size, size)
    return float((model(x) - expected((x - model.mean) / model.std)).abs().max())


def of_timm(folder: Path) -> tuple[str, str, float]:
    net = timm.create_model("test_resnet", num_classes=3).eval()
    save_for_hf(net, str(folder), model_config={"label_names": ["a", "b", "c"]}, safe_serialization=True)
    return "folder of timm (`local-dir:`)", "FOLDER", difference(ModelSource(str(folder)), {}, net, 160)


def of_transformers(folder: Path) -> tuple[str, str, float]:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    net = ViTForImageClassification(
        ViTConfig(
            image_size=32, patch_size=8, id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2}, **sizes
        )
    ).eval()
    net.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return "folder of transformers", "FOLDER", difference(ModelSource(str(folder)), {}, lambda x: net(x).logits, 32)


def of_torchvision(folder: Path) -> tuple[str, str, float]:
    net = torchvision.models.resnet18(num_classes=3).eval()
    torch.save(net.state_dict(), folder / "w.pt")
    source = ModelSource("torchvision/resnet18", folder / "w.pt")
    return "torchvision", "torchvision/resnet18 --weights w.pt", difference(source, {}, net, 64)


def of_hub(folder: Path) -> tuple[str, str, float]:
    (folder / "hubconf.py").write_text(HUBCONF)
    sys.path.append(str(folder))
    net = torchvision.models.resnet18(num_classes=3).eval()
    torch.save(net.state_dict(), folder / "w.pt")
    gap = difference(ModelSource("hubconf:tiny", folder / "w.pt"), {}, net, 64)
    return "function of torch.hub", "hubconf:tiny --weights w.pt --trust-code", gap


class Module(LightningModule):
    """A network beside a loss with weights."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.save_hyperparameters({"rate": 0.1})
        self.net, self.loss = net, nn.CrossEntropyLoss(weight=torch.ones(3))


def of_lightning(folder: Path) -> tuple[str, str, float]:
    net = timm.create_model("test_resnet", num_classes=3).eval()
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_model_summary=False)
    trainer.strategy.connect(Module(net))
    trainer.save_checkpoint(folder / "w.ckpt")
    source = ModelSource("test_resnet", folder / "w.ckpt")
    return "checkpoint of Lightning, with a loss", "test_resnet --weights w.ckpt", difference(source, {}, net, 160)


def with_prefix(folder: Path, prefix: str) -> tuple[str, str, float]:
    net = timm.create_model("test_resnet", num_classes=3).eval()
    torch.save({"state_dict": {prefix + key: value for key, value in net.state_dict().items()}}, folder / "w.pt")
    source = ModelSource("test_resnet", folder / "w.pt")
    return f"keys that begin with `{prefix}`", "test_resnet --weights w.pt", difference(source, {}, net, 160)


def without_head(folder: Path) -> tuple[str, str, float]:
    net = timm.create_model("test_resnet", num_classes=0).eval()
    save_file(net.state_dict(), folder / "w.safetensors")
    opened = open_model(ModelSource("test_resnet", folder / "w.safetensors"), {}, ANY)
    assert opened.head == "none"
    found = opened.classifier.net.eval()
    x = torch.rand(8, 3, 160, 160)
    gap = float((found.forward_head(found.forward_features(x), pre_logits=True) - net(x)).abs().max())
    return "weights without a head (features)", "test_resnet --weights w.safetensors", gap


def of_open_clip(folder: Path) -> tuple[str, str, float]:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=16, image_size=32)
    net = CLIP(24, vision, CLIPTextCfg(context_length=8, vocab_size=50, width=32, heads=2, layers=1)).eval()
    torch.save(net.state_dict(), folder / "w.pt")
    name, args = (
        "vit_base_patch32_clip_224",
        {"embed_dim": 64, "depth": 2, "num_heads": 2, "patch_size": 16, "img_size": 32},
    )
    gap = difference(ModelSource(name, folder / "w.pt"), args, net.encode_image, 32)
    return "image tower of open_clip", f"{name} --weights w.pt", gap


if __name__ == "__main__":
    main()
