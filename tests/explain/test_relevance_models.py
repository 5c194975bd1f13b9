"""Relevance of whole architectures, the smallest of a family: books that balance, outputs that are the model's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xaiprune.explain.relevance import COMPOSITES, propagate

pytestmark = pytest.mark.filterwarnings("ignore")

CHOSEN = {name: COMPOSITES[name] for name in ("epsilon-plus", "attnlrp")}
CHOSEN["redistributed"] = COMPOSITES["epsilon-plus"].with_bias("redistribute")


class Told(nn.Module):
    """A model whose logits are what a function makes of it and its input."""

    def __init__(self, model: nn.Module, logits):
        super().__init__()
        self.model, self.logits = model, logits

    def forward(self, x):
        return self.logits(self.model, x)


def lively(model: nn.Module) -> nn.Module:
    """No parameter is zero or one for all, no statistic trivial."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2 or parameter.std() < 1e-3:
                scale = any(word in name for word in ("weight", "gamma", "scale"))
                parameter.copy_(torch.rand_like(parameter) / 2 + 0.5 if scale else torch.randn_like(parameter) / 10)
        for module in model.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model.double().eval()


def balanced(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The relevance of two inputs, once the books are balanced and do not depend on what else is in the batch."""
    model, x = lively(model), x.double()
    with torch.no_grad():
        outputs = model(x)
    targets = outputs.argmax(1)
    for composite in CHOSEN.values():
        found, ledger = propagate(model, x, targets, composite=composite)
        torch.testing.assert_close(ledger.output, outputs.gather(1, targets[:, None])[:, 0], rtol=1e-9, atol=1e-12)
        assert ledger.error.max() <= 1e-6
        alone = propagate(model, x[1:], targets[1:], composite=composite)[0]
        assert (alone - found[1:]).abs().max() <= 1e-6 * found.abs().max()
    return found


def vision(name: str) -> nn.Module:
    """One of torchvision's, small."""
    from torchvision import models
    from torchvision.models import convnext, maxvit, swin_transformer

    torch.manual_seed(0)
    swin = ([4, 4], 16, [2, 2], [2, 4], [4, 4])
    if name == "swin":
        return swin_transformer.SwinTransformer(*swin, num_classes=5)
    if name == "swin v2":
        parts = swin_transformer.SwinTransformerBlockV2, swin_transformer.PatchMergingV2
        return swin_transformer.SwinTransformer(*swin, num_classes=5, block=parts[0], downsample_layer=parts[1])
    if name == "maxvit":
        settings = {"block_channels": [8, 16], "block_layers": [1, 2], "head_dim": 8, "stochastic_depth_prob": 0.0}
        return maxvit.MaxVit((64, 64), 8, 4, **settings, num_classes=5)
    if name == "convnext":
        return convnext.ConvNeXt([convnext.CNBlockConfig(8, 16, 2), convnext.CNBlockConfig(16, None, 2)], num_classes=5)
    if name == "vit":
        return models.VisionTransformer(64, 16, 2, 4, 32, 64, num_classes=5)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(models, name)(weights=None, num_classes=5, **options)


FAMILIES = ["swin", "swin v2", "maxvit", "convnext", "vit", "googlenet", "inception_v3"]
FAMILIES += ["shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf", "squeezenet1_1"]


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvisions_models(name):
    assert balanced(
        vision(name), torch.rand(2, 3, 80 if name == "inception_v3" else 64, 64 + 16 * (name[0] == "i"))
    ).any()


TIMM = "vit_tiny_patch16_224 swin_tiny_patch4_window7_224 convnextv2_atto mixer_s32_224 poolformer_s12 mobilevit_xxs"
TIMM += " xcit_nano_12_p16_224 cait_xxs24_224 levit_128s pvt_v2_b0 edgenext_xx_small efficientnet_cc_b0_4e starnet_s1"


@pytest.mark.parametrize("name", TIMM.split())
def test_timms_models(name):
    timm = pytest.importorskip("timm")
    try:
        model = timm.create_model(name, num_classes=5, img_size=64)
    except TypeError:
        model = timm.create_model(name, num_classes=5)
    assert balanced(model, torch.rand(2, 3, 64, 64)).any()


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}
HALF = {"layers": 2, "ffn_dim": 48, "attention_heads": 4}
DECODER = {"d_model": 32, "vocab_size": 99}


def last(model, x):
    return model(inputs_embeds=x).logits[:, -1]


def sentence(model, x):
    return model(inputs_embeds=x).logits


def answer(model, x):
    return model(inputs_embeds=x, decoder_input_ids=torch.tensor([[2, 5, 7]]).expand(len(x), -1)).logits[:, -1]


LANGUAGE = {
    "BertForSequenceClassification": ("BertConfig", SIZES, sentence),
    "DebertaV2ForSequenceClassification": (
        "DebertaV2Config",
        SIZES | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        sentence,
    ),
    "GPT2LMHeadModel": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99}, last),
    "LlamaForCausalLM": ("LlamaConfig", SIZES | {"num_key_value_heads": 2}, last),
    "Qwen3ForCausalLM": ("Qwen3Config", SIZES | {"num_key_value_heads": 2, "head_dim": 8}, last),
    "BloomForCausalLM": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99}, last),
    "T5ForConditionalGeneration": (
        "T5Config",
        DECODER | {"d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"},
        answer,
    ),
    "BartForConditionalGeneration": (
        "BartConfig",
        DECODER
        | {
            f"{side}_{key}": value
            for side in ("encoder", "decoder")
            for key, value in {"layers": 2, "ffn_dim": 48}.items()
        }
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4},
        answer,
    ),
}


@pytest.mark.parametrize("how", ["eager", "sdpa"])
@pytest.mark.parametrize("name", LANGUAGE)
def test_language_models_give_a_number_for_each_token(name, how):
    transformers = pytest.importorskip("transformers")
    config, sizes, logits = LANGUAGE[name]
    torch.manual_seed(0)
    try:
        config = getattr(transformers, config)(**sizes, attn_implementation=how)
        model = Told(getattr(transformers, name)(config), logits)
    except ValueError as error:
        if "does not support" not in str(error):
            raise
        pytest.skip(str(error).split(".")[0])
    found = balanced(model, torch.randn(2, 7, 32))
    tokens = found.sum(-1)
    assert tokens.shape == (2, 7)
    assert tokens.any()


SMALL = {key: value for key, value in SIZES.items() if key != "vocab_size"}
SEEING = {
    "ViTForImageClassification": ("ViTConfig", SMALL | {"image_size": 32, "patch_size": 8}),
    "SwinForImageClassification": (
        "SwinConfig",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    ),
    "SegformerForImageClassification": (
        "SegformerConfig",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1, 2, 4, 4]},
    ),
}


@pytest.mark.parametrize("name", SEEING)
def test_transformers_that_see(name):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config, sizes = SEEING[name]
    model = getattr(transformers, name)(getattr(transformers, config)(**sizes, num_labels=5))
    assert balanced(Told(model, lambda model, x: model(pixel_values=x).logits), torch.rand(2, 3, 32, 32)).any()


class Words(nn.Module):
    """A sentence's tokens as their embeddings, positions, an encoder of torch, and a head."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(7, 12))
        layer = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(12, 4)

    def forward(self, embedded):
        return self.head(self.encoder(embedded + self.position).mean(1))


def test_torchs_encoder_as_it_is_gives_a_number_for_each_token():
    torch.manual_seed(0)
    model, x = Words(), torch.randn(2, 7, 12)
    found = balanced(model, x)
    assert found.sum(-1).shape == (2, 7)
