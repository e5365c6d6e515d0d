"""Capture and add at named sites. The only file that touches hooks.

Both context managers act on forward passes of the *calling thread* only, and the backbone's lock keeps hooks
from changing while another thread is inside a forward pass; so two users of one backbone never see each
other's vectors. Do not hold one open across a `yield`: the next step may run in another thread. `sampling`
opens one per step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .backbones.base import Backbone, Site, in_order
from .errors import RudderError, shorten, unknown
from .recipe import HALVES

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda h: h.mean(dim=(2, 3)),
    "max": lambda h: h.amax(dim=(2, 3)),
    "map": lambda h: h.clone(),
}


@contextmanager
def capture(backbone: Backbone, sites: Iterable[str], pooling: str = "mean") -> Iterator[dict[str, Tensor]]:
    """Read sites during this thread's forward passes.

    Yields a store that each forward pass refills: `store[site]` is float32 [B, C] for pooling "mean" or "max"
    over the picture plane, [B, C, H, W] for "map". Raises RudderError for an unknown site or pooling.
    """
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    pool, store = POOLINGS[pooling], {}

    def reader(name: str) -> Callable[[Tensor], None]:
        def read(h: Tensor) -> None:
            store[name] = pool(h.detach().float())

        return read

    readers = {site: reader(site.name) for site in find_sites(backbone, sites)}
    with change(backbone, readers):
        yield store


@contextmanager
def add(backbone: Backbone, vectors: Mapping[str, Tensor], halves: str = "both") -> Iterator[None]:
    """Add tensors at sites during this thread's forward passes: h + v (paper, section on steering).

    `vectors[site]` is [C], [B, C], [B, C, 1, 1] or [B, C, H, W] with B = 1, the batch, or half of it (then it
    serves each half of a guided batch, see `base.in_order`). `halves="conditional"` leaves the other half alone,
    "opposite" subtracts there. Raises RudderError for an unknown site, a shape that does not fit it, or values that
    are not finite.
    """
    if halves not in HALVES:
        raise unknown("choice of guidance halves", halves, HALVES)
    sites = find_sites(backbone, vectors)
    shaped = {site: _shaped(backbone, site, vectors[site.name]) for site in sites}
    with change(backbone, {site: _adder(backbone, vector, halves) for site, vector in shaped.items()}):
        yield


@contextmanager
def change(backbone: Backbone, actions: Mapping[Site, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Run each action on the activations [N, C, H, W] at its site during this thread's forward passes; what it returns
    takes their place (None: they stay). Released whatever happens."""
    owner = threading.current_thread()  # the object, not its id: ids are used again after a thread ends
    with ExitStack() as stack:
        with backbone.lock:
            for site, action in actions.items():
                handle = _register(backbone, site, action, owner)
                stack.callback(_release, backbone, handle)
        yield


@contextmanager
def attention_over_tokens(backbone: Backbone) -> Iterator[list[Tensor]]:
    """Read how each cross-attention of this thread's forward passes spreads over the prompt's tokens.

    Yields a list to which every layer appends float32 [B, L], the mean over heads and positions: rows sum to
    1. RudderError for a network without cross-attention.
    """
    owner, found = threading.current_thread(), []
    layers = [m for name, m in backbone.network.named_modules() if name.endswith(".attn2")]
    if not layers:
        raise RudderError(f"{backbone.name} has no cross-attention to read: use a model with prompts.")

    def before(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if threading.current_thread() is not owner:
            return
        hidden = inputs[0] if inputs else named["hidden_states"]
        query, key = module.to_q(hidden), module.to_k(named["encoder_hidden_states"])
        query, key = (rearrange(x, "b n (h d) -> b h n d", h=module.heads) for x in (query, key))
        weights = (module.scale * query @ key.transpose(-1, -2)).float().softmax(-1)
        found.append(weights.mean(dim=(1, 2)).detach())

    with ExitStack() as stack:
        with backbone.lock:
            for layer in layers:
                handle = layer.register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(_release, backbone, handle)
        yield found


def hooked(modules: Iterable[nn.Module]) -> bool:
    """Whether any of the modules is read or changed just now, by whichever thread."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def find_sites(backbone: Backbone, names: Iterable[str]) -> list[Site]:
    """The sites of these names; RudderError for one the backbone does not have."""
    sites = backbone.sites()
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in sites:
            raise unknown(f"site in {backbone.name}", name, sites)
    return [sites[name] for name in names]


def _register(
    backbone: Backbone, site: Site, action: Callable[[Tensor], Tensor | None], owner: threading.Thread
) -> RemovableHandle:
    action = _as_map(site, action)
    if site.part == "input":

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if threading.current_thread() is not owner:
                return None
            changed = action(inputs[0])
            return None if changed is None else (changed, *inputs[1:])

        return backbone.network.get_submodule(site.path).register_forward_pre_hook(before)

    if site.part == "estimate":

        def predicted(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if threading.current_thread() is not owner:
                return None
            h = _tensor(output) - backbone.carried(*inputs[:2])
            changed = action(h)
            return None if changed is None else _replaced(output, _tensor(output) + (changed - h))

        return backbone.network.register_forward_hook(predicted)

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if threading.current_thread() is not owner:
            return None
        changed = action(_tensor(output))
        return None if changed is None else _replaced(output, changed)

    return backbone.network.get_submodule(site.path).register_forward_hook(after)


def _as_map(site: Site, action: Callable[[Tensor], Tensor | None]) -> Callable[[Tensor], Tensor | None]:
    """The action where the site speaks in tokens [B, h w, C]: it sees, and may return, a map [B, C, h, w]."""
    if not site.tokens:
        return action
    height, width = site.size

    def acted(h: Tensor) -> Tensor | None:
        changed = action(rearrange(h, "b (y x) c -> b c y x", y=height, x=width))
        return None if changed is None else rearrange(changed, "b c y x -> b (y x) c")

    return acted


def _release(backbone: Backbone, handle: Any) -> None:
    with backbone.lock:
        handle.remove()


def _tensor(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    return output[0] if isinstance(output, tuple) else output.sample


def _replaced(output: Any, tensor: Tensor) -> Any:
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, tuple):
        return (tensor, *output[1:])
    return type(output)(sample=tensor)


def _shaped(backbone: Backbone, site: Site, vector: Tensor) -> Tensor:
    """Any accepted shape to [B, C, 1 or H, 1 or W]."""
    v = vector[None, :, None, None] if vector.ndim == 1 else vector[:, :, None, None] if vector.ndim == 2 else vector
    if v.ndim != 4 or v.shape[1] != site.channels or tuple(v.shape[2:]) not in ((1, 1), site.size):
        raise RudderError(
            f"A tensor of shape {shorten(tuple(vector.shape))} does not fit site {site.name}: give "
            f"[{site.channels}], "
            f"[B, {site.channels}] or [B, {site.channels}, {site.size[0]}, {site.size[1]}]."
        )
    if not torch.isfinite(v).all():
        raise RudderError(f"The tensor for site {site.name} has values that are not finite: learn the vector again.")
    return v.to(device=backbone.device, dtype=backbone.dtype)


def _adder(backbone: Backbone, v: Tensor, halves: str) -> Callable[[Tensor], Tensor]:
    return lambda h: h + _fit(backbone, v, h, halves)


def _fit(backbone: Backbone, v: Tensor, h: Tensor, halves: str) -> Tensor:
    """Bring [B, C, *, *] to the batch of h [N, C, H, W]."""
    batch, size = v.shape[0], h.shape[0]
    if halves != "both":
        if size % 2 or batch not in (1, size // 2):
            raise RudderError(
                f"A batch of {size} cannot be split into guidance halves for {batch} vectors: use 'both'."
            )
        v = v.expand(size // 2, *v.shape[1:])
        return torch.cat(in_order(backbone, torch.zeros_like(v) if halves == "conditional" else -v, v))
    if batch in (1, size):
        return v
    if size != 2 * batch:
        raise RudderError(f"{batch} vectors cannot be added to a batch of {size}: give 1, {size} or half as many.")
    return torch.cat([v, v])
