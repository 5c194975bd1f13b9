"""Vision transformers of other libraries as this zoo's :class:`VisionTransformer`, with the same outputs."""

from __future__ import annotations

import torch
from torch import nn

from ..nn import VisionTransformer


def from_torchvision(model: nn.Module) -> VisionTransformer:
    """A torchvision VisionTransformer, such as ``vit_b_16()``, with its attention laid open.

    ``nn.MultiheadAttention`` keeps query, key and value in one weight and its attention to itself; here they are layers
    of their own. Outputs are equal to 1e-5.

    Parameters
    ----------
    model : torchvision.models.VisionTransformer
        Not changed; its weights are copied. Dropout, which does nothing in evaluation mode, is left out.

    Returns
    -------
    VisionTransformer
        In evaluation mode.

    Raises
    ------
    TypeError
        If ``model`` is something else.
    ValueError
        If it has more than one layer in its stem or in its head.

    Examples
    --------
    >>> from torchvision.models import VisionTransformer
    >>> theirs = VisionTransformer(28, 14, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16).eval()
    >>> ours, images = xp.zoo.from_torchvision(theirs), torch.rand(1, 3, 28, 28)
    >>> torch.allclose(ours(images), theirs(images), atol=1e-5)
    True
    """
    from torchvision.models import VisionTransformer as TorchvisionTransformer

    if not isinstance(model, TorchvisionTransformer):
        raise TypeError(f"model must be torchvision's VisionTransformer, got {_kind(model)}.")
    if not isinstance(model.conv_proj, nn.Conv2d) or len(model.heads) != 1:
        raise ValueError("model must have one convolution as its stem and one layer as its head.")
    state = _ends(model.conv_proj, model.class_token, model.encoder.pos_embedding, model.encoder.ln, model.heads.head)
    for number, block in enumerate(model.encoder.layers):
        attention, dense = block.self_attention, [layer for layer in block.mlp if isinstance(layer, nn.Linear)]
        projections = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        state |= _block(number, block.ln_1, projections, attention.out_proj, block.ln_2, dense)
    first = model.encoder.layers[0]
    return _filled(model.conv_proj, model.image_size, model.encoder.layers, first.num_heads, first.ln_1.eps, state)


def from_timm(model: nn.Module) -> VisionTransformer:
    """A plain VisionTransformer of timm, such as ``timm.create_model("vit_tiny_patch16_224")``, laid open likewise.

    Parameters
    ----------
    model : timm.models.VisionTransformer
        Not changed. It reads its answer from the class token and has none of timm's additions.

    Returns
    -------
    VisionTransformer
        In evaluation mode.

    Raises
    ------
    TypeError
        If ``model`` is no transformer of timm.
    ValueError
        If it has parts that this zoo's transformer lacks (the part is named).
    """
    if type(model).__name__ != "VisionTransformer" or not hasattr(model, "patch_embed"):
        raise TypeError(f"model must be timm's VisionTransformer, got {_kind(model)}.")
    state = _ends(model.patch_embed.proj, model.cls_token, model.pos_embed, model.norm, model.head)
    known = set()
    for number, block in enumerate(model.blocks):
        qkv = block.attn.qkv
        bias = torch.zeros(qkv.out_features) if qkv.bias is None else qkv.bias
        projections = qkv.weight.chunk(3), bias.chunk(3)
        state |= _block(number, block.norm1, projections, block.attn.proj, block.norm2, [block.mlp.fc1, block.mlp.fc2])
        known |= {id(p) for part in (block.norm1, block.attn.qkv, block.attn.proj) for p in part.parameters()}
        known |= {id(p) for part in (block.norm2, block.mlp.fc1, block.mlp.fc2) for p in part.parameters()}
    known |= {id(p) for part in (model.patch_embed.proj, model.norm, model.head) for p in part.parameters()}
    known |= {id(model.cls_token), id(model.pos_embed)}
    if unknown := [name for name, parameter in model.named_parameters() if id(parameter) not in known]:
        raise ValueError(f"model has {unknown[0]!r}, which this zoo's transformer lacks.")
    if getattr(model, "global_pool", "token") != "token":
        raise ValueError(f"model must read its answer from the class token, got global_pool={model.global_pool!r}.")
    side, heads = model.patch_embed.img_size[0], model.blocks[0].attn.num_heads
    return _filled(model.patch_embed.proj, side, model.blocks, heads, model.blocks[0].norm1.eps, state)


def _kind(model) -> str:
    return f"{type(model).__module__}.{type(model).__name__}"


def _ends(stem: nn.Conv2d, token, position, norm: nn.LayerNorm, head: nn.Linear) -> dict[str, torch.Tensor]:
    """The parts before and behind the blocks, by the zoo's names."""
    return {
        **_layer("patches", stem),
        "class_token.weight": token,
        "position.weight": position,
        **_layer("norm", norm),
        **_layer("head", head),
    }


def _block(number: int, norm1, projections, output, norm2, dense) -> dict[str, torch.Tensor]:
    """One block, by the zoo's names."""
    name, found = f"blocks.{number}", {}
    for part, weight, bias in zip(("query", "key", "value"), *projections):
        found |= {f"{name}.attention.{part}.weight": weight, f"{name}.attention.{part}.bias": bias}
    layers = {"norm1": norm1, "attention.output": output, "norm2": norm2, "mlp.0": dense[0], "mlp.2": dense[1]}
    for part, layer in layers.items():
        found |= _layer(f"{name}.{part}", layer)
    return found


def _layer(name: str, layer: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": value for key, value in layer.state_dict().items()}


def _filled(stem: nn.Conv2d, side: int, blocks, heads: int, eps: float, state: dict) -> VisionTransformer:
    """A transformer of these sizes with these weights."""
    dim, hidden = stem.out_channels, state["blocks.0.mlp.0.weight"].shape[0]
    copy = VisionTransformer(
        side=side,
        patch=stem.kernel_size[0],
        channels=stem.in_channels,
        dim=dim,
        depth=len(blocks),
        heads=heads,
        width=dim // heads,
        hidden=hidden,
        classes=state["head.weight"].shape[0],
    )
    for module in copy.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
    copy.load_state_dict({name: tensor.detach() for name, tensor in state.items()})
    return copy.to(stem.weight).eval()
