"""A classifier as a backbone and the one linear layer behind it: logits = features @ weight.T + bias.

The layer is found by running the network, not by its name, so it works alike for timm, torchvision, transformers and
a user's own module.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.errors import ModelError
from labelwise.models.classifier import InputSpec, logits_of

PROBE_SIZE = 64
"""Side of the probe for a network that takes any image size."""

_TOLERANCE = 1e-4  # relative; one linear layer computed twice, perhaps in another order
_OVERRIDE_SCALE = 100.0  # logits that no activation, clamp or temperature leaves as they are


@dataclass(frozen=True)
class SplitModel:
    """A network whose logits are those of its linear layer ``path``; made by :func:`split_head`.

    ``model`` is the network itself, in whatever mode the caller puts it; ``paths`` are the places of the layer in it.
    """

    model: nn.Module
    paths: tuple[str, ...]

    @property
    def linear(self) -> nn.Linear:
        """The head, inside the network."""
        head = self.model.get_submodule(self.paths[0])
        assert isinstance(head, nn.Linear)
        return head

    @property
    def weight(self) -> Tensor:
        """(C, D) float32, a copy."""
        return self.linear.weight.detach().float().clone()

    @property
    def bias(self) -> Tensor:
        """(C,) float32, a copy; zeros for a head without a bias."""
        head = self.linear
        return self.weight.new_zeros(head.out_features) if head.bias is None else head.bias.detach().float().clone()

    def features(self, x: Tensor) -> Tensor:
        """What reaches the head: (B, D) for a batch of inputs (B, ...)."""
        return self.features_and_logits(x)[0]

    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What reaches the head (B, D) and what leaves it (B, C), in one forward."""
        seen: list[Tensor] = []
        handle = self.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = logits_of(self.model(x))
        finally:
            handle.remove()
        return seen[-1], logits

    def merge(self, weight: Tensor, bias: Tensor) -> nn.Module:
        """A copy of the network with another head; the network itself stays as it is.

        Parameters
        ----------
        weight, bias : (C', D) and (C',); C' may be another number of outputs

        Raises
        ------
        ModelError
            If D is not the backbone's width, or weight and bias do not fit each other.
        """
        old = self.linear
        if weight.ndim != 2 or weight.shape[1] != old.in_features or bias.shape != weight.shape[:1]:
            raise ModelError(
                f"a head of weight {tuple(weight.shape)} and bias {tuple(bias.shape)} does not fit a backbone of"
                f" {old.in_features} features"
            )
        new = nn.Linear(old.in_features, len(weight), device=old.weight.device, dtype=old.weight.dtype)
        with torch.no_grad():
            new.weight.copy_(weight)
            new.bias.copy_(bias)
        if self.paths[0] == "":
            return new
        merged = copy.deepcopy(self.model)
        for path in self.paths:
            merged.set_submodule(path, new)
        return merged


@torch.no_grad()
def split_head(model: nn.Module, example: Tensor | InputSpec, name: str = "") -> SplitModel:
    """Find the linear layer whose output is the network's output.

    Three things are checked on a probe in eval mode: a linear layer returns the network's logits bit by bit; they are
    ``x @ weight.T + bias`` of its (B, D) input; and when its output is replaced by other, large numbers, the network
    returns those. The last shows a softmax, temperature, clamp, or mean of two heads behind it.

    Parameters
    ----------
    model : gives logits (B, C), directly or as ``.logits``
    example : a batch of inputs on the network's device, or what the network wants to see (then random images)
    name : of the network in messages; default its class

    Raises
    ------
    ModelError
        If the head is not one linear layer; names the network and its last layers.
    """
    name = name or type(model).__name__
    x = probe(model, example) if isinstance(example, InputSpec) else example
    with evaluating(model):
        logits, calls, last = _run(model, x, name)
        if not torch.isfinite(logits).all():
            raise ModelError(f"{name}: gives NaN or infinite logits for random inputs; are its weights the right ones?")
        for module, features, output in reversed(calls):
            if output.shape != logits.shape or not torch.equal(output.to(logits.dtype), logits):
                continue
            if features.ndim != 2 or not _is_linear(module, features, output):
                continue
            if _output_is_final(model, module, x, output):
                paths = tuple(p for p, m in model.named_modules(remove_duplicate=False) if m is module)
                return SplitModel(model, paths)
    raise ModelError(
        f"{name}: its head is not one linear layer: no nn.Linear gives its output {tuple(logits.shape)} unchanged;"
        f" the last layers are {', '.join(last[-3:]) or 'unknown'}"
    )


_Call = tuple[nn.Linear, Tensor, Tensor]


def _run(model: nn.Module, x: Tensor, name: str) -> tuple[Tensor, list[_Call], list[str]]:
    """Logits, every call of a linear layer on one vector per sample, and the layers in the order that they ran."""
    calls: list[_Call] = []
    ran: list[str] = []

    def record(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            ran.append(f"{path or 'itself'} ({type(module).__name__})")
            if isinstance(module, nn.Linear) and inputs and output.ndim == 2:
                # A layer behind it may work in place.
                calls.append((module, inputs[0].clone(), output.clone()))

        return hook

    with ExitStack() as hooks:
        for path, module in model.named_modules():
            if isinstance(module, nn.Linear) or not any(True for _ in module.children()):
                hooks.callback(module.register_forward_hook(record(path)).remove)
        try:
            return logits_of(model(x)), calls, ran
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{name}: cannot run on an input of shape {tuple(x.shape)}: {reason}") from error


def _is_linear(module: nn.Linear, features: Tensor, output: Tensor) -> bool:
    """Whether a layer does what its weight and bias say: a subclass may do more."""
    expected = nn.functional.linear(features, module.weight, module.bias)
    scale = float(output.abs().max()) + 1.0
    return float((expected - output).abs().max()) <= _TOLERANCE * scale


def _output_is_final(model: nn.Module, module: nn.Linear, x: Tensor, output: Tensor) -> bool:
    """Whether the network returns whatever ``module`` returns."""
    generator = torch.Generator().manual_seed(0)
    other = (torch.randn(output.shape, generator=generator) * _OVERRIDE_SCALE).to(output)
    handle = module.register_forward_hook(lambda *_: other.clone())
    try:
        found = logits_of(model(x))
    finally:
        handle.remove()
    return torch.equal(found, other.to(found.dtype))


def probe(model: nn.Module, spec: InputSpec) -> Tensor:
    """Two random inputs as ``spec`` says, on the network's device."""
    shape = (2, spec.size) if spec.kind == "features" else (2, spec.channels, *[spec.size or PROBE_SIZE] * 2)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, every module's own mode again behind it."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
