"""Claims and exercises: every solution passes, every blank and every listed mistake fails with its own message."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xaiprune.course import claim, exercise, guess
from xaiprune.course.claims import ClaimError
from xaiprune.course.exercises import EXERCISES, NotYet


def right_psnr(original, reconstruction):
    mse = ((original - reconstruction) ** 2).mean()
    return -10 * math.log10(mse) if mse > 0 else math.inf


def mean_of_psnrs(original, reconstruction):
    return np.mean([right_psnr(a, b) for a, b in zip(original, reconstruction)])


def keep(weights, k):
    stays = np.ones(len(weights), bool)
    stays[np.argsort(np.abs(weights), kind="stable")[:k]] = False
    return stays


SOLUTIONS = {"neuron": 1601, "mask": 834_577, "psnr": right_psnr, "step": 1 / 32}
SOLUTIONS |= {"csr": 0.5, "cubic": 0.7, "keep": keep, "fisher": 5, "probes": 4, "surgeon": 2}
SOLUTIONS |= {"z-plus": 3, "complete": 5, "shared": lambda one, other, k: len(top(one, k) & top(other, k)) / k}
SOLUTIONS |= {"hidden": 6713, "rounded": 80, "statistics": lambda a: (a.mean((0, 2, 3)), a.var((0, 2, 3)))}
SOLUTIONS |= {"head": 4144, "remainder": 0.8, "rollout": lambda w: (w.mean(0) + torch.eye(w.shape[-1])) / 2}

SOLUTIONS |= {"grid": 0.2, "tie": 5, "equalize": lambda ours, theirs: (ours / theirs).sqrt()}
SOLUTIONS |= {"soft label": 0.731, "others": 0.01, "gap": lambda teacher, alone, own: (alone - own) / (alone - teacher)}
SOLUTIONS |= {"times smaller": 10, "whole faster": 2.5}
SOLUTIONS |= {"front": lambda rows: [not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in rows) for a in rows]}
SOLUTIONS |= {"mean cost": 58, "worst cost": 65, "leave": lambda first, tail, mean: 1 - (mean - first) / tail}


def top(values, k):
    return set(np.argsort(-values.ravel())[:k])


MISTAKES = [
    ("neuron", 33, "What reads it goes too"),
    ("neuron", 32, "Its bias goes"),
    ("neuron", 1600, "a bias of its own"),
    ("neuron", 1602, "keeps its biases"),
    ("neuron", 7, "count a row of the layer before"),
    ("neuron", "1601", "a number is asked for, this is str"),
    ("mask", 824_577, "zeros are still stored"),
    ("mask", 10_000, "changes values, not shapes"),
    ("step", 1 / 256, "the narrow one is"),
    ("step", 1 / 64, "between two roundings"),
    ("step", 32, "a share of the group"),
    ("step", 0.5, "a share of 1/n"),
    ("psnr", 30.0, "write a function"),
    ("psnr", lambda a, b: None, "is the return statement missing"),
    ("psnr", lambda a, b: -right_psnr(a, b), "the sign is turned"),
    ("psnr", lambda a, b: -10 * math.log(((a - b) ** 2).mean() + 1e-300), "natural logarithm"),
    ("psnr", lambda a, b: 2 * right_psnr(a, b), "20 log10 belongs to amplitudes"),
    ("psnr", lambda a, b: -10 * math.log10(((a - b) ** 2).mean()), "their PSNR is infinite"),
    ("psnr", lambda a: a, "your function raises TypeError"),
    ("psnr", mean_of_psnrs, "Pool the squared error"),
    ("psnr", lambda a, b: ((a - b) ** 2).mean(), "that is the MSE itself"),
    ("psnr", lambda a, b: 12.0, "for this pair the PSNR is"),
    ("psnr", lambda a, b: -10 * math.log10(((a - b) ** 2).mean() + 1e-12), "their PSNR is infinite"),
    ("csr", 0.0, "costs 8"),
    ("csr", 2 / 3, "count 8 bytes"),
    ("csr", 50, "the answer is a share"),
    ("csr", 0.9, "solve 8"),
    ("cubic", 0.4, "the straight line"),
    ("cubic", 0.1, "what is still to go"),
    ("cubic", 1 - 0.2**0.5, "the iterative schedule"),
    ("cubic", 0.6, "the power is 3"),
    ("cubic", 0.2, "put t = 1/2"),
    ("keep", 0.5, "write a function"),
    ("keep", lambda w, k: w, "one truth value per weight"),
    ("keep", lambda w, k: np.abs(w) > np.sort(np.abs(w))[k - 1], "a threshold takes too many"),
    ("keep", lambda w, k: keep(w[::-1], k)[::-1], "ties go by index"),
    ("keep", lambda w, k: keep(np.where(w == 0.1, 9, w), k), "ties go by index"),
    ("keep", lambda w, k: np.arange(6) < 4, "the two smallest are 1 and 2"),
    ("keep", lambda w, k: keep(w + 1, k), "not signed values"),
    ("keep", lambda w, k: keep(1 / w, k), "you took the largest"),
    ("keep", lambda w, k: ~keep(w, k), "the mask is turned"),
    ("keep", lambda w, k: keep(w, 2), "for k = 0 everything stays"),
    ("fisher", 1, "you squared the mean gradient"),
    ("fisher", 2, "takes squares"),
    ("fisher", 4, "the variance"),
    ("fisher", 10, "that is the sum"),
    ("fisher", 3, "the mean of the squared"),
    ("probes", 2, "square root"),
    ("probes", 2**0.5, "turned round"),
    ("probes", 3, "sigma"),
    ("surgeon", 0, "by magnitude"),
    ("surgeon", 1, "for all three"),
    ("surgeon", 3, "count from 0"),
    ("surgeon", 7, "the index, from 0"),
    ("z-plus", 6, "the epsilon rule"),
    ("z-plus", 2, "sum of the sizes"),
    ("z-plus", 0.75, "that is the share"),
    ("z-plus", 1, "positive contributions alone"),
    ("complete", 0.05, "as a share"),
    ("complete", 0.3, "the difference itself"),
    ("complete", 130 / 7, "logit of 1 has to be taken off"),
    ("complete", 30 / 7, "relative to what the image adds"),
    ("complete", 50, "in per cent"),
    ("shared", 0.5, "write a function"),
    ("shared", lambda a, b, k: len(top(abs(a), k) & top(abs(b), k)) / k, "absolute values"),
    ("shared", lambda a, b, k: len(top(-a, k) & top(-b, k)) / k, "the lowest pixels"),
    ("shared", lambda a, b, k: len(top(a, k) & top(b, k)) / a.size, "divide by k"),
    ("shared", lambda a, b, k: len(top(a, k) & top(b, k)), "Which part of k"),
    ("shared", lambda a, b, k: 0.123, "these two maps share"),
    ("hidden", 49 * 128, "it goes too"),
    ("hidden", 49 * 73, "what reads the channel"),
    ("hidden", 137, "these are its weights"),
    ("hidden", 49 * (128 + 9 * 384), "its own channel alone"),
    ("hidden", 49 * (128 * 384 + 9 * 384), "the whole block"),
    ("hidden", 7, "times the 49 positions"),
    ("rounded", 72, "no multiple of 16"),
    ("rounded", 64, "more than half"),
    ("rounded", 4.5, "how many times"),
    ("rounded", 96, "the smallest multiple"),
    ("statistics", 0.5, "write a function"),
    ("statistics", lambda a: a.mean((0, 2, 3)), "two tensors"),
    ("statistics", lambda a: (a.mean(0), a.var(0)), "one number per channel"),
    ("statistics", lambda a: (a.amax((0, 2, 3)), a.var((0, 2, 3))), "the means are off"),
    ("statistics", lambda a: (a.mean((0, 2, 3)), a.std((0, 2, 3))), "standard deviations"),
    ("statistics", lambda a: (a.mean((0, 2, 3)), a.mean((0, 2, 3)) ** 2), "the variances are off"),
    ("head", 4096, "have a bias for each"),
    ("head", 3120, "its columns go too"),
    ("head", 4208, "belongs to no head"),
    ("head", 1024, "one of four layers"),
    ("head", 5, "rows of query, key and value"),
    ("remainder", 0.0, "Put in the numbers"),
    ("remainder", -0.8, "less what the inputs get"),
    ("remainder", 0.6, "all outputs' relevance"),
    ("remainder", 1.6, "is counted once"),
    ("remainder", 7, "the sum of R less"),
    ("rollout", 0.5, "write a function"),
    ("rollout", lambda w: w, "one matrix of shape"),
    ("rollout", lambda w: w.mean(0), "half of the step is the identity"),
    ("rollout", lambda w: w.mean(0) + torch.eye(4), "rows have to sum to one"),
    ("rollout", lambda w: (w.amax(0) + torch.eye(4)) / 2, "not the largest"),
    ("rollout", lambda w: (w.sum(0) + torch.eye(4)) / 2, "not their sum"),
    ("rollout", lambda w: (w.mean(0).T + torch.eye(4)) / 2, "do not transpose"),
    ("rollout", lambda w: torch.zeros(4, 4), "half of the identity"),
    ("grid", 2.5 / 15, "hold zero"),
    ("grid", 3 / 16, "15 steps between"),
    ("grid", 3 / 7, "the symmetric grid"),
    ("grid", 3 / 8, "are 16 numbers"),
    ("grid", 7, "with zero inside"),
    ("tie", 4, "before the zero point"),
    ("tie", 4.5, "a whole number"),
    ("tie", 2, "add the zero point"),
    ("tie", 1, "has to be added"),
    ("tie", 9, "ties to even, plus"),
    ("equalize", 0.5, "write a function"),
    ("equalize", lambda a, b: a.sum(), "one factor for each"),
    ("equalize", lambda a, b: a / b, "take the root"),
    ("equalize", lambda a, b: (b / a).sqrt(), "that is 1 / s"),
    ("equalize", lambda a, b: (a * b).sqrt(), "both end with"),
    ("equalize", lambda a, b: a, "makes the first range 1"),
    ("equalize", lambda a, b: a + b, "gives s = sqrt"),
    ("soft label", 0.881, "that is T = 1"),
    ("soft label", 0.982, "you multiplied"),
    ("soft label", 0.269, "the second class"),
    ("soft label", 0.44, "divide the logits, then"),
    ("soft label", 0.5, "e\\^\\(2/T\\)"),
    ("others", 0.99, "what the right class has"),
    ("others", 0.01 / 9, "on average"),
    ("others", 1, "said nothing of the right class"),
    ("others", 0.5, "1 - p"),
    ("gap", 0.9, "write a function"),
    ("gap", lambda a, b, c: "most", "return a number"),
    ("gap", lambda a, b, c: (b - c) / b, "the gap begins at the teacher's"),
    ("gap", lambda a, b, c: (c - a) / (b - a), "still open"),
    ("gap", lambda a, b, c: (b - c) / (c - a), "by the whole gap"),
    ("gap", lambda a, b, c: (c - b) / (b - a), "counts as positive"),
    ("gap", lambda a, b, c: 100 * (b - c) / (b - a), "not per cent"),
    ("gap", lambda a, b, c: a, "\\(alone - distilled\\)"),
    ("mean cost", 72, "where 40 per cent do"),
    ("mean cost", 28, "add its 30"),
    ("mean cost", 46, "pay trunk and tail"),
    ("mean cost", 0.58, "58 of 100"),
    ("mean cost", 50, "0.6\\) \\* 70"),
    ("worst cost", 100, "costs half now"),
    ("worst cost", 35, "has run the trunk"),
    ("worst cost", 44, "that is the mean"),
    ("worst cost", 50, "only the tail is"),
    ("worst cost", 1, "70 / 2"),
    ("leave", 0.6, "write a function"),
    ("leave", lambda a, b, c: (c - a) / b, "share that stays"),
    ("leave", lambda a, b, c: 1 - c / (a + b), "before you divide"),
    ("leave", lambda a, b, c: 1 - c / b, "paid by all"),
    ("leave", lambda a, b, c: 100 * (1 - (c - a) / b), "not per cent"),
    ("leave", lambda a, b, c: c, "solved for leave"),
    ("times smaller", 0.1, "share that is left"),
    ("times smaller", 2.5, "bits count"),
    ("times smaller", 4, "cut counts"),
    ("times smaller", 6.5, "multiply"),
    ("times smaller", 20 / 3, "not gone"),
    ("times smaller", 3, "8 / 32"),
    ("whole faster", 4, "as slow as before"),
    ("whole faster", 0.4, "time that is left"),
    ("whole faster", 3.2, "add times"),
    ("whole faster", 5, "vanish"),
    ("whole faster", 3.4, "add times"),
    ("whole faster", 7, "8 / 4"),
    ("front", 3, "write a function"),
    ("front", lambda rows: rows[:2], "one True or False"),
    ("front", lambda rows: [a == min(rows) for a in rows], "smallest alone"),
    ("front", lambda rows: [sum(a) == min(map(sum, rows)) for a in rows], "cannot be added"),
    ("front", lambda rows: [a[0] == 0.3 or a[1] == 0.9 for a in rows], "nobody beats"),
    ("front", lambda rows: [a[0] == 0.3 for a in rows], "and one that is as small"),
    ("front", lambda rows: [a[0] != 0.3 for a in rows], "is beaten, too"),
    ("front", lambda rows: [True] * 5, "no other row is"),
]


def test_every_exercise_has_a_solution_and_mistakes():
    assert set(SOLUTIONS) == set(EXERCISES) == {name for name, _, _ in MISTAKES}


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name, capsys):
    exercise(name, SOLUTIONS[name])
    assert capsys.readouterr().out == f"{name}: right.\n"


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("blank", [None, ...])
def test_the_blank_fails(name, blank):
    with pytest.raises(NotYet, match="still blank"):
        exercise(name, blank)


@pytest.mark.parametrize(("name", "answer", "message"), MISTAKES)
def test_a_likely_mistake_is_named(name, answer, message):
    with pytest.raises(NotYet, match=message):
        exercise(name, answer)


def test_an_unknown_exercise_is_refused():
    with pytest.raises(ValueError, match="name must be one of neuron, mask, psnr, step"):
        exercise("nothing", 1)


def test_the_answers_are_those_of_the_shipped_model(autoencoder):
    hidden, expand = autoencoder.decoder.hidden, autoencoder.decoder.expand
    assert SOLUTIONS["neuron"] == hidden.weight[0].numel() + 1 + expand.weight[:, 0].numel()
    assert SOLUTIONS["mask"] == sum(parameter.numel() for parameter in autoencoder.parameters())


def test_a_claim_prints_or_raises_with_its_value(capsys):
    claim("one is less than two", 1 < 2, 1.23456)
    assert capsys.readouterr().out == "holds: one is less than two [1.235]\n"
    with pytest.raises(ClaimError, match=r"this does not hold here: two is less than one \[2\]"):
        claim("two is less than one", 2 < 1, 2)


def test_a_guess_may_be_wrong_but_not_nonsense():
    assert guess(3, 0, 10, "dB") == 3
    with pytest.raises(ValueError, match="must be a number from 0 to 10, got 40"):
        guess(40, 0, 10, "dB")
    with pytest.raises(ValueError, match="must be a number"):
        guess("many", 0, 10, "dB")
