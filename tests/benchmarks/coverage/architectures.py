"""The architectures, as rows: how the smallest configuration of each family is built, and what it reads.

Weights are random: nothing is downloaded. Where a model's output is no tensor, or its input has a name, a wrapper
stands around it, :class:`OneTensor` or :class:`Detector`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import nn

CLASSES = 10
#: Of torchvision's classifiers, in millions of parameters, as published: which are tried at all, and with all verbs.
MOST, MOST_FOR_ALL = 90, 30


@dataclass(frozen=True)
class Architecture:
    """One model of the benchmark.

    Attributes
    ----------
    name, library, family : str
    build : callable
        ``() -> nn.Module`` that reads one tensor and answers with one.
    example : callable
        ``n -> tensor`` of n inputs.
    task : {"classes", "maps", "detection", "tokens", "next token"}
    every : bool
        Whether all verbs are asked; else only units and the cut.
    answers : callable
        From the output to (N, classes), for verbs that explain an answer.
    """

    name: str
    library: str
    family: str
    build: Callable[[], nn.Module]
    example: Callable[[int], torch.Tensor]
    task: str = "classes"
    every: bool = True
    answers: Callable[[torch.Tensor], torch.Tensor] = lambda outputs: outputs


class OneTensor(nn.Module):
    """A model that reads one tensor and answers with one.

    Parameters
    ----------
    net : nn.Module
    pick : callable
        The tensor of the model's output.
    feed : callable, optional
        From the tensor to the model's keywords.
    """

    def __init__(self, net: nn.Module, pick: Callable, feed: Callable | None = None):
        super().__init__()
        self.net, self.pick, self.feed = net, pick, feed

    def forward(self, x):
        return self.pick(self.net(x) if self.feed is None else self.net(**self.feed(x)))


class Detector(nn.Module):
    """A detector of torchvision from pictures to what its heads say, before boxes are decoded and suppressed."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x):
        features = self.net.backbone(x)
        if hasattr(self.net, "rpn"):
            found = [*self._of_regions(x, features), *chain(*self.net.rpn.head(list(features.values())))]
        else:
            found = self.net.head(list(features.values()))
            found = [found["cls_logits"], *(part for name, part in found.items() if name != "cls_logits")]
        return torch.cat([part.reshape(len(x), -1) for part in found], 1)

    def _of_regions(self, x, features):
        """What the heads say about two fixed regions of each picture."""
        heads, height, width = self.net.roi_heads, *x.shape[-2:]
        boxes = x.new_tensor([[0, 0, width // 2, height // 2], [width // 4, height // 4, width, height]])
        boxes, sizes = [boxes] * len(x), [(height, width)] * len(x)
        found = list(heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, sizes))))
        for part in ("mask", "keypoint"):
            if getattr(heads, f"{part}_roi_pool", None) is not None:
                pooled = getattr(heads, f"{part}_roi_pool")(features, boxes, sizes)
                found.append(getattr(heads, f"{part}_predictor")(getattr(heads, f"{part}_head")(pooled)))
        return found


def _pictures(size: int, frames: int | None, n: int) -> torch.Tensor:
    """Noise, in the range of photographs that were normalised."""
    return torch.randn(n, 3, *([] if frames is None else [frames]), size, size, generator=_generator())


def _tokens(vocabulary: int, length: int, n: int) -> torch.Tensor:
    return torch.randint(3, vocabulary, (n, length), generator=_generator())


def _vectors(features: int, length: int, n: int) -> torch.Tensor:
    return torch.randn(n, length, features, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


# torchvision's classifiers: smallest pictures other than 64, and options.
_SIZES = {"inception_v3": 96, "maxvit_t": 224, "s3d": 224, "alexnet": 80, "mvit_v1_b": 64, "mvit_v2_s": 64}
_OPTIONS = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
    **{name: {"image_size": 64} for name in ("vit_b_16", "vit_b_32")},
    **{name: {"spatial_size": (64, 64), "temporal_size": 8} for name in ("mvit_v1_b", "mvit_v2_s")},
}
_FAMILIES = (
    "alexnet", "convnext", "densenet", "efficientnet_v2", "efficientnet", "googlenet", "inception", "maxvit", "mc3",
    "mnasnet", "mobilenet_v2", "mobilenet_v3", "mvit_v1", "mvit_v2", "r2plus1d", "r3d", "regnet_x", "regnet_y",
    "resnet", "resnext", "s3d", "shufflenet", "squeezenet", "swin3d", "swin_v2", "swin", "vgg", "vit", "wide_resnet",
)  # fmt: skip


def _torchvision() -> list[Architecture]:
    from torchvision import models

    rows, seen = [], set()
    known = models.list_models(models) + models.list_models(models.video)
    sizes = {name: models.get_model_weights(name).DEFAULT.meta["num_params"] / 1e6 for name in known}
    for name in sorted(known, key=sizes.get):
        if sizes[name] > MOST:
            continue
        family = next(family for family in _FAMILIES if name.startswith(family))
        video = name in models.list_models(models.video)
        build = partial(models.get_model, name, weights=None, num_classes=CLASSES, **_OPTIONS.get(name, {}))
        if name.startswith("inception"):
            build = partial(build, aux_logits=True)
        example = partial(_pictures, _SIZES.get(name, 64), (16 if name == "s3d" else 8) if video else None)
        every = family not in seen and sizes[name] <= MOST_FOR_ALL
        seen.add(family)
        rows.append(Architecture(name, "torchvision", family, build, example, every=every))
    return rows


def _dense() -> list[Architecture]:
    """Segmentation and detection of torchvision."""
    from torchvision import models

    def segmenter(name):
        net = models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES)
        return OneTensor(net, lambda found: found["out"])

    def detector(name):
        return Detector(models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES))

    rows = [
        Architecture(
            name, "torchvision", name.split("_")[0], partial(segmenter, name), partial(_pictures, 64, None), "maps",
            answers=lambda maps: maps.mean((2, 3)),
        )
        for name in models.list_models(models.segmentation)
    ]  # fmt: skip
    sizes = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 64}
    rows += [
        Architecture(
            name, "torchvision", name.split("_")[0], partial(detector, name),
            partial(_pictures, sizes.get(name, 64), None), "detection", answers=lambda found: found[:, :CLASSES],
        )
        for name in models.list_models(models.detection)
    ]  # fmt: skip
    return rows


# The smallest model of each family, a module of timm, and the smallest picture that it takes; negative: it is told.
_TIMM = {
    "beit": ("beit_base_patch16_224", -32), "byoanet": ("halonet_h1", -256), "byobnet": ("mobileone_s1", -32),
    "cait": ("cait_xxs24_224", -32), "coat": ("coat_tiny", -32), "convit": ("convit_tiny", -32),
    "convmixer": ("convmixer_768_32", 32), "convnext": ("convnext_zepto_rms", 32), "cpubone": ("cpubone_nano", 32),
    "crossvit": ("crossvit_tiny_240", 32), "csatv2": ("csatv2", 64), "cspnet": ("cs3darknet_focus_s", 32),
    "cspnext": ("cspnext_tiny", 32), "davit": ("davit_tiny", 32), "deit": ("deit_tiny_patch16_224", -32),
    "densenet": ("densenet121", 32), "dla": ("dla46x_c", 32), "dpn": ("dpn48b", 32),
    "edgenext": ("edgenext_xx_small", 32), "efficientformer": ("efficientformer_l1", -224),
    "efficientformer_v2": ("efficientformerv2_s0", -32), "efficientnet": ("mobilenetv2_035", 32),
    "efficientvim": ("efficientvim_m1", 32), "efficientvit_mit": ("efficientvit_b0", 32),
    "efficientvit_msra": ("efficientvit_m0", -32), "eva": ("vit_tiny_patch16_dinov3_qkvb", -32),
    "fasternet": ("fasternet_t0", 32), "fastvit": ("fastvit_t8", 32), "focalnet": ("focalnet_tiny_srf", 32),
    "gcvit": ("gcvit_xxtiny", -32), "ghostnet": ("ghostnet_050", 32), "hardcorenas": ("hardcorenas_b", 32),
    "hgnet": ("hgnetv2_b0", 32), "hiera": ("hiera_tiny_224", -32), "hieradet_sam2": ("sam2_hiera_tiny", 32),
    "hrnet": ("hrnet_w18_small", 32), "iformer": ("iformer_t", 32), "inception_next": ("inception_next_atto", 32),
    "inception_resnet_v2": ("inception_resnet_v2", 96), "inception_v3": ("inception_v3", 96),
    "inception_v4": ("inception_v4", 96), "lcnetv2": ("lcnetv2_small", 32), "levit": ("levit_128s", -32),
    "lowformer": ("lowformer_b0", 32), "mambaout": ("mambaout_femto", 32), "maxxvit": ("maxvit_pico_rw_256", -32),
    "metaformer": ("poolformerv2_s12", 32), "mlp_mixer": ("gmlp_ti16_224", -32), "mobilenetv3": ("lcnet_035", 32),
    "mobilenetv5": ("mobilenetv5_base", 32), "mobilevit": ("mobilevit_xxs", -32), "mvitv2": ("mvitv2_tiny", -32),
    "naflexvit": ("naflexvit_base_patch16_parfac_gap", -32), "nasnet": ("nasnetalarge", 32),
    "nest": ("nest_tiny", -32), "nextvit": ("nextvit_small", 32), "nfnet": ("nf_regnet_b0", 32),
    "pit": ("pit_ti_224", -32), "pnasnet": ("pnasnet5large", 32), "pvt_v2": ("pvt_v2_b0", 32),
    "qwen3_vit": ("qwen3_vit_88m", -32), "rdnet": ("rdnet_tiny", 32), "regnet": ("regnetx_002", 32),
    "repghost": ("repghostnet_050", 32), "repvit": ("repvit_m1", -32), "res2net": ("res2next50", 32),
    "resnest": ("resnest14d", 32), "resnet": ("resnet10t", 32), "resnetv2": ("resnetv2_18", 32),
    "rexnet": ("rexnet_100", 32), "selecsls": ("selecsls42", 32), "senet": ("legacy_seresnet18", 32),
    "sequencer": ("sequencer2d_s", -32), "shvit": ("shvit_s1", 32), "sknet": ("skresnet18", 32),
    "starnet": ("starnet_s050", 32), "swiftformer": ("swiftformer_xs", -32),
    "swin_transformer": ("swin_tiny_patch4_window7_224", -32), "swin_transformer_v2": ("swinv2_tiny_window8_256", -32),
    "swin_transformer_v2_cr": ("swinv2_cr_tiny_224", -32), "tiny_vit": ("tiny_vit_5m_224", 32),
    "tnt": ("tnt_s_legacy_patch16_224", -32), "tresnet": ("tresnet_m", 32), "twins": ("twins_svt_small", -32),
    "visformer": ("visformer_tiny", -32), "vision_transformer": ("vit_tiny_patch16_224", -32),
    "vision_transformer_hybrid": ("vit_tiny_r_s16_p8_224", -32),
    "vision_transformer_relpos": ("vit_srelpos_small_patch16_224", -32),
    "vision_transformer_sam": ("samvit_base_patch16_224", -32), "vitamin": ("vitamin_small_224", -32),
    "volo": ("volo_d1_224", -32), "vovnet": ("ese_vovnet19b_slim_dw", 32), "xception": ("legacy_xception", 32),
    "xception_aligned": ("xception41p", 32), "xcit": ("xcit_nano_12_p8_224", -32),
}  # fmt: skip


def _timm() -> list[Architecture]:
    def model(name, size):
        import timm

        return timm.create_model(name, num_classes=CLASSES, **({"img_size": -size} if size < 0 else {}))

    return [
        Architecture(name, "timm", family, partial(model, name, size), partial(_pictures, abs(size), None))
        for family, (name, size) in _TIMM.items()
    ]


_WORDS = 61
_TEXT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": _WORDS,
    "max_position_embeddings": 64, "pad_token_id": 0, "num_labels": CLASSES,
}  # fmt: skip
_GROUPED = _TEXT | {"num_key_value_heads": 2, "head_dim": 8}
_SEEN = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8, "num_labels": CLASSES,
}  # fmt: skip
_BOTH = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": _WORDS, "max_position_embeddings": 64,
    "pad_token_id": 0,
}  # fmt: skip
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": _WORDS}
# Name of the configuration, what stands on top, its options; "tied" says that embeddings are.
_TRANSFORMERS = {
    "bert": ("SequenceClassification", _TEXT),
    "roberta": ("SequenceClassification", _TEXT),
    "electra": ("SequenceClassification", _TEXT | {"embedding_size": 16}),
    "distilbert": (
        "SequenceClassification",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": _WORDS, "num_labels": CLASSES},
    ),
    "albert": ("SequenceClassification", _TEXT | {"embedding_size": 16}),
    "deberta-v2": ("SequenceClassification", _TEXT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "mpnet": ("SequenceClassification", _TEXT),
    "modernbert": ("SequenceClassification", _TEXT),
    "gpt2": ("CausalLM", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": _WORDS, "n_positions": 64}),
    "gpt_neox": ("CausalLM", _TEXT),
    "opt": ("CausalLM", _TEXT | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "llama": ("CausalLM", _GROUPED),
    "mistral": ("CausalLM", _GROUPED),
    "qwen2": ("CausalLM", _GROUPED | {"tie_word_embeddings": True}),
    "qwen3": ("CausalLM", _GROUPED | {"tie_word_embeddings": True}),
    "gemma2": ("CausalLM", _GROUPED | {"tie_word_embeddings": True}),
    "phi": ("CausalLM", _TEXT),
    "t5": ("Seq2SeqLM", _T5),
    "bart": ("Seq2SeqLM", _BOTH),
    "marian": ("Seq2SeqLM", _BOTH | {"decoder_start_token_id": 0}),
    "vit": ("ImageClassification", _SEEN),
    "deit": ("ImageClassification", _SEEN | {"architectures": ["DeiTForImageClassification"]}),
    "beit": ("ImageClassification", _SEEN),
    "dinov2": ("ImageClassification", _SEEN | {"mlp_ratio": 2}),
    "swin": (
        "ImageClassification",
        {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 32, "patch_size": 2,
         "num_labels": CLASSES},
    ),
    "convnextv2": ("ImageClassification", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2,
                                           "num_labels": CLASSES}),
    "segformer": (
        "ImageClassification",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_encoder_blocks": 2, "sr_ratios": [2, 1], "patch_sizes": [3, 3],
         "strides": [2, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 16,
         "num_labels": CLASSES},
    ),
    "resnet": ("ImageClassification", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1],
                                       "layer_type": "basic", "num_labels": CLASSES}),
}  # fmt: skip


def _huggingface() -> list[Architecture]:
    def model(name, top, options):
        import transformers

        config = transformers.AutoConfig.for_model(name, **options)
        net = getattr(transformers, f"AutoModelFor{top}").from_config(config)
        return OneTensor(net, lambda found: found.logits, _FEEDS[top])

    rows = []
    for name, (top, options) in _TRANSFORMERS.items():
        words = top != "ImageClassification"
        example = partial(_tokens, _WORDS, 12) if words else partial(_pictures, 32, None)
        generates = top in ("CausalLM", "Seq2SeqLM")
        task = "next token" if generates else "tokens" if words else "classes"
        answers = (lambda logits: logits[:, -1]) if generates else (lambda logits: logits)
        build = partial(model, name, top, options)
        rows.append(Architecture(f"{name}-{top}", "transformers", name, build, example, task, answers=answers))
    return rows


_FEEDS = {
    "SequenceClassification": lambda x: {"input_ids": x},
    "CausalLM": lambda x: {"input_ids": x, "use_cache": False},
    "Seq2SeqLM": lambda x: {"input_ids": x, "decoder_input_ids": x[:, :7], "use_cache": False},
    "ImageClassification": lambda x: {"pixel_values": x},
}


class Recurrent(nn.Module):
    """Words or vectors through an LSTM or a GRU to the logits of the last step.

    Parameters
    ----------
    kind : type
    words : int
        Size of the vocabulary; 0 for vectors of 6 features.
    normed : bool
        Whether a LayerNorm reads the memory.
    **options
        Of the layer.
    """

    def __init__(self, kind: type[nn.Module], words: int = 0, normed: bool = False, **options):
        super().__init__()
        self.embedding = nn.Embedding(words, 6) if words else nn.Identity()
        self.memory = kind(6, 16, batch_first=True, **options)
        width = 32 if options.get("bidirectional") else 16
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()
        self.hidden, self.head = nn.Linear(width, 12), nn.Linear(12, CLASSES)

    def forward(self, x):
        found, _ = self.memory(self.embedding(x))
        return self.head(torch.relu(self.hidden(self.norm(found[:, -1]))))


def _recurrent() -> list[Architecture]:
    two = {"num_layers": 2, "bidirectional": True}
    rows = {}
    for kind in (nn.LSTM, nn.GRU):
        name = kind.__name__.lower()
        rows[f"{name}"] = partial(Recurrent, kind)
        rows[f"{name}-norm"] = partial(Recurrent, kind, normed=True)
        rows[f"{name}-two-both"] = partial(Recurrent, kind, **two)
        rows[f"{name}-words"] = partial(Recurrent, kind, words=_WORDS)
    return [
        Architecture(
            name, "torch", name.split("-")[0], build,
            partial(_tokens, _WORDS, 9) if "words" in name else partial(_vectors, 6, 9),
            "tokens" if "words" in name else "classes",
        )
        for name, build in rows.items()
    ]  # fmt: skip


_SOURCES = {
    "torch": [_recurrent],
    "torchvision": [_torchvision, _dense],
    "timm": [_timm],
    "transformers": [_huggingface],
}
#: What comes with the extra ``coverage``.
EXTRA = ("timm", "transformers", "torch_pruning")


def architectures(library: str = "") -> dict[str, Architecture]:
    """All architectures, whether their library is installed or not, by ``library/name``.

    Parameters
    ----------
    library : str, optional
        Only of this one.

    Returns
    -------
    dict of str to Architecture
    """
    sources = [source for name, of in _SOURCES.items() if library in ("", name) for source in of]
    return {f"{row.library}/{row.name}": row for source in sources for row in source()}


def missing() -> list[str]:
    """The packages of the extra that are not installed.

    Returns
    -------
    list of str
    """
    return [package for package in EXTRA if not importlib.util.find_spec(package)]
