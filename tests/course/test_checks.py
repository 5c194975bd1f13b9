"""Claims and exercises: every solution passes, every blank and every listed mistake fails with its own message."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from xaiprune.course import (
    EXERCISES,
    STRICT,
    ClaimError,
    Exercise,
    Function,
    NotYet,
    Number,
    check,
    claim,
    exercise,
    guess,
)


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
SOLUTIONS |= {"front": lambda rows: on_front(rows)}
SOLUTIONS |= {"mean cost": 58, "worst cost": 65, "leave": lambda first, tail, mean: 1 - (mean - first) / tail}
SOLUTIONS |= {"object mass": lambda heat, mask: (heat.clip(0) * mask).sum() / heat.clip(0).sum()}
SOLUTIONS |= {"noisy": lambda w, drawn, share: w + share * w.std() * drawn}
SOLUTIONS |= {"place": lambda drift, noise, chance: (drift - noise) / (chance - noise)}


def on_front(rows):
    return [not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in rows) for a in rows]


def beaten_in_both(row, rows):
    return any(other[0] < row[0] and other[1] < row[1] for other in rows)


def eye(weights):
    return torch.eye(weights.shape[-1])


def top(values, k):
    return set(np.argsort(-values.ravel())[:k])


MISTAKES = [
    ("neuron", 33, "What reads it goes too"),
    ("neuron", 32, "Its bias goes"),
    ("neuron", 1600, "a bias of its own"),
    ("neuron", 1602, "keeps its biases"),
    ("neuron", 7, "where it is read"),
    ("neuron", "1601", "a number is asked for, this is str"),
    ("mask", 824_577, "zeros are still stored"),
    ("mask", 10_000, "changes values, not shapes"),
    ("step", 1 / 256, "the narrow one is"),
    ("step", 1 / 64, "between two roundings"),
    ("step", 32, "a share of the group"),
    ("step", 0.5, "the fewest units"),
    ("psnr", 30.0, "write a function"),
    ("psnr", lambda a, b: None, "is the return statement missing"),
    ("psnr", lambda a, b: -right_psnr(a, b), "the sign is turned"),
    ("psnr", lambda a, b: -10 * math.log(((a - b) ** 2).mean() + 1e-300), "natural logarithm"),
    ("psnr", lambda a, b: 2 * right_psnr(a, b), "belongs to amplitudes"),
    ("psnr", lambda a, b: -10 * math.log10(((a - b) ** 2).mean()), "their PSNR is infinite"),
    ("psnr", lambda a: a, "your function raises TypeError"),
    ("psnr", mean_of_psnrs, "Pool the squared error"),
    ("psnr", lambda a, b: ((a - b) ** 2).mean(), "that is the MSE itself"),
    ("psnr", lambda a, b: 12.0, "by hand"),
    ("psnr", lambda a, b: -10 * math.log10(((a - b) ** 2).mean() + 1e-12), "their PSNR is infinite"),
    ("csr", 0.0, "costs 8"),
    ("csr", 2 / 3, "count 8 bytes"),
    ("csr", 50, "the answer is a share"),
    ("csr", 0.9, "the bytes of both formats"),
    ("cubic", 0.4, "the straight line"),
    ("cubic", 0.1, "what is still to go"),
    ("cubic", 1 - 0.2**0.5, "the iterative schedule"),
    ("cubic", 0.6, "a cubic"),
    ("cubic", 0.2, "half of the time"),
    ("keep", 0.5, "write a function"),
    ("keep", lambda w, k: [[1], [2, 3]], "of another form"),
    ("keep", lambda w, k: w, "one truth value per weight"),
    ("keep", lambda w, k: np.abs(w) > np.sort(np.abs(w))[k - 1], "a threshold takes too many"),
    ("keep", lambda w, k: keep(w[::-1], k)[::-1], "ties go by index"),
    ("keep", lambda w, k: np.arange(len(w)) >= k, "count them"),
    ("keep", lambda w, k: keep(w - w.min(), k), "not signed values"),
    ("keep", lambda w, k: keep(1 / w, k), "you took the largest"),
    ("keep", lambda w, k: ~keep(w, k), "the mask is turned"),
    ("keep", lambda w, k: keep(w, max(k, 1)), "for k = 0 everything stays"),
    ("fisher", 1, "you squared the mean gradient"),
    ("fisher", 2, "takes squares"),
    ("fisher", 4, "the variance"),
    ("fisher", 10, "that is the sum"),
    ("fisher", 3, "begin with one image"),
    ("probes", 2, "more slowly"),
    ("probes", 2**0.5, "turned round"),
    ("probes", 3, "standard error fall"),
    ("surgeon", 0, "by magnitude"),
    ("surgeon", 1, "of all three"),
    ("surgeon", 3, "count from 0"),
    ("surgeon", 7, "the index, from 0"),
    ("z-plus", 6, "the epsilon rule"),
    ("z-plus", 2, "sum of the sizes"),
    ("z-plus", 0.75, "that is the share"),
    ("z-plus", 1, "which contributions count"),
    ("complete", 0.05, "as a share"),
    ("complete", 0.3, "the difference itself"),
    ("complete", 130 / 7, "logit of 1 has to be taken off"),
    ("complete", 30 / 7, "relative to what the image adds"),
    ("complete", 50, "compare the sum"),
    ("shared", 0.5, "write a function"),
    ("shared", lambda a, b, k: len(top(abs(a), k) & top(abs(b), k)) / k, "absolute values"),
    ("shared", lambda a, b, k: len(top(-a, k) & top(-b, k)) / k, "the lowest pixels"),
    ("shared", lambda a, b, k: len(top(a, k) & top(b, k)) / a.size, "divide by k"),
    ("shared", lambda a, b, k: len(top(a, k) & top(b, k)), "Which part of k"),
    ("shared", lambda a, b, k: 0.123, "by hand"),
    ("hidden", 49 * 128, "it goes too"),
    ("hidden", 49 * 73, "what reads the channel"),
    ("hidden", 137, "these are its weights"),
    ("hidden", 49 * (128 + 9 * 384), "its own channel alone"),
    ("hidden", 49 * (128 * 384 + 9 * 384), "the whole block"),
    ("hidden", 7, "three layers touch"),
    ("rounded", 72, "no multiple of 16"),
    ("rounded", 64, "more than half"),
    ("rounded", 4.5, "how many times"),
    ("rounded", 96, "no more go than"),
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
    ("head", 5, "which rows and which columns"),
    ("remainder", 0.0, "what the rule gives the inputs"),
    ("remainder", -0.8, "less what the inputs get"),
    ("remainder", 0.6, "of all outputs"),
    ("remainder", 1.6, "is counted once"),
    ("remainder", 7, "input by input"),
    ("rollout", 0.5, "write a function"),
    ("rollout", lambda w: w, "one matrix of shape"),
    ("rollout", lambda w: w.mean(0), "that part is missing"),
    ("rollout", lambda w: w.mean(0) + eye(w), "rows have to sum to one"),
    ("rollout", lambda w: (w.amax(0) + eye(w)) / 2, "not the largest"),
    ("rollout", lambda w: (w.sum(0) + eye(w)) / 2, "not their sum"),
    ("rollout", lambda w: (w.mean(0).T + eye(w)) / 2, "do not transpose"),
    ("rollout", lambda w: 0 * w[0], "in equal parts"),
    ("grid", 2.5 / 15, "hold zero"),
    ("grid", 3 / 16, "how many steps lie"),
    ("grid", 3 / 7, "the symmetric grid"),
    ("grid", 3 / 8, "are 16 numbers"),
    ("grid", 7, "which range"),
    ("tie", 4, "before the zero point"),
    ("tie", 4.5, "a whole number"),
    ("tie", 2, "add the zero point"),
    ("tie", 1, "has to be added"),
    ("tie", 9, "how many steps is"),
    ("equalize", 0.5, "write a function"),
    ("equalize", lambda a, b: a.sum(), "one factor for each"),
    ("equalize", lambda a, b: a / b, "change places"),
    ("equalize", lambda a, b: (b / a).sqrt(), "that is 1 / s"),
    ("equalize", lambda a, b: (a * b).sqrt(), "both end with"),
    ("equalize", lambda a, b: a, "makes the first range 1"),
    ("equalize", lambda a, b: a + b, "solve for s"),
    ("soft label", 0.881, "that is T = 1"),
    ("soft label", 0.982, "the other way"),
    ("soft label", 0.269, "the second class"),
    ("soft label", 0.44, "not on the probability"),
    ("soft label", 0.5, "but of what"),
    ("others", 0.99, "what the right class has"),
    ("others", 0.01 / 9, "on average"),
    ("others", 1, "said nothing of the right class"),
    ("others", 0.5, "all wrong classes"),
    ("gap", 0.9, "write a function"),
    ("gap", lambda a, b, c: "most", "return a number"),
    ("gap", lambda a, b, c: (b - c) / b, "the gap begins at the teacher's"),
    ("gap", lambda a, b, c: (c - a) / (b - a), "still open"),
    ("gap", lambda a, b, c: (b - c) / (c - a), "by the whole gap"),
    ("gap", lambda a, b, c: (c - b) / (b - a), "counts as positive"),
    ("gap", lambda a, b, c: 100 * (b - c) / (b - a), "not per cent"),
    ("gap", lambda a, b, c: a, "there to gain"),
    ("mean cost", 72, "where 40 per cent do"),
    ("mean cost", 28, "add its 30"),
    ("mean cost", 46, "pay trunk and tail"),
    ("mean cost", 0.58, "not as a share"),
    ("mean cost", 50, "an image pay that leaves"),
    ("worst cost", 100, "costs half now"),
    ("worst cost", 35, "has run the trunk"),
    ("worst cost", 44, "that is the mean"),
    ("worst cost", 50, "only the tail is"),
    ("worst cost", 1, "the longest now"),
    ("leave", 0.6, "write a function"),
    ("leave", lambda a, b, c: (c - a) / b, "share that stays"),
    ("leave", lambda a, b, c: 1 - c / (a + b), "before you divide"),
    ("leave", lambda a, b, c: 1 - c / b, "paid by all"),
    ("leave", lambda a, b, c: 100 * (1 - (c - a) / b), "not per cent"),
    ("leave", lambda a, b, c: c, "and solve"),
    ("times smaller", 0.1, "share that is left"),
    ("times smaller", 2.5, "bits count"),
    ("times smaller", 4, "cut counts"),
    ("times smaller", 6.5, "multiply"),
    ("times smaller", 20 / 3, "not gone"),
    ("times smaller", 3, "of the bytes is left"),
    ("whole faster", 4, "as slow as before"),
    ("whole faster", 0.4, "time that is left"),
    ("whole faster", 3.2, "add times"),
    ("whole faster", 5, "vanish"),
    ("whole faster", 3.4, "add times"),
    ("whole faster", 7, "how many milliseconds"),
    ("front", 3, "write a function"),
    ("front", lambda rows: rows[:2], "one True or False"),
    ("front", lambda rows: [a == min(rows) for a in rows], "smallest alone"),
    ("front", lambda rows: [sum(a) == min(map(sum, rows)) for a in rows], "cannot be added"),
    ("front", lambda rows: [not good for good in on_front(rows)], "nobody beats"),
    ("front", lambda rows: [beaten_in_both(a, rows) for a in rows], "and one that is as small"),
    ("front", lambda rows: [not beaten_in_both(a, rows) for a in rows], "is beaten, too"),
    ("front", lambda rows: [True] * len(rows), "by pairs"),
    ("object mass", 0.5, "write a function"),
    ("object mass", lambda h, m: (abs(h) * m).sum() / abs(h).sum(), "as if it spoke for it"),
    ("object mass", lambda h, m: (h * m).sum() / h.sum(), "is subtracted here"),
    ("object mass", lambda h, m: (h.clip(0) * m).sum(), "A share of what"),
    ("object mass", lambda h, m: (h.clip(0) * m).sum() / (h.clip(0) * ~m).sum(), "beside the thing"),
    ("object mass", lambda h, m: ((h > 0) & m).sum() / (h > 0).sum(), "that counts pixels"),
    ("object mass", lambda h, m: (h.clip(0) * ~m).sum() / h.clip(0).sum(), "share beside the thing"),
    ("object mass", lambda h, m: m.mean(), "the heatmap is not used"),
    ("object mass", lambda h, m: h.max(), "by hand"),
    ("noisy", 0.5, "write a function"),
    ("noisy", lambda w, drawn, share: w + share * drawn, "as large for small weights"),
    ("noisy", lambda w, drawn, share: w * (1 + share * drawn), "in proportion to itself"),
    ("noisy", lambda w, drawn, share: share * w.std() * drawn, "Where are the weights"),
    ("noisy", lambda w, drawn, share: w + share * abs(w).max() * drawn, "Take the standard deviation"),
    ("noisy", lambda w, drawn, share: w + share * w.var() * drawn, "in squared units"),
    ("noisy", lambda w, drawn, share: w - share * w.std() * drawn, "by hand"),
    ("place", 0.5, "write a function"),
    ("place", lambda drift, noise, chance: drift / chance, "taken off first"),
    ("place", lambda drift, noise, chance: (drift - noise) / chance, "should come to 1"),
    ("place", lambda drift, noise, chance: (chance - drift) / (chance - noise), "the other way"),
    ("place", lambda drift, noise, chance: min(1, max(0, (drift - noise) / (chance - noise))), "do not cut it off"),
    ("place", lambda drift, noise, chance: drift / noise, "come to lie"),
    ("place", lambda drift, noise, chance: drift - chance, "a straight line"),
]


def test_every_exercise_has_a_solution_and_mistakes():
    assert set(SOLUTIONS) == set(EXERCISES) == {name for name, _, _ in MISTAKES}


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name, capsys):
    exercise(name, SOLUTIONS[name])
    assert capsys.readouterr().out == f"{name}: right.\n"


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("blank", [None, ...])
def test_a_blank_is_told_and_stops_nobody(name, blank, capsys):
    with pytest.raises(NotYet, match="still blank"):
        check(name, blank)
    exercise(name, blank)
    assert capsys.readouterr().out.startswith(f"{name}: still blank.")


@pytest.mark.parametrize(("name", "answer", "message"), MISTAKES)
def test_a_likely_mistake_is_named(name, answer, message):
    with pytest.raises(NotYet, match=message):
        check(name, answer)


def test_a_wrong_answer_is_one_line_by_hand_and_an_error_under_the_runner(monkeypatch, capsys):
    with pytest.raises(NotYet, match="fisher: that is the variance"):
        exercise("fisher", 4)
    monkeypatch.delenv(STRICT)
    exercise("fisher", 4)
    out = capsys.readouterr().out
    assert out.startswith("fisher: not yet: that is the variance")
    assert out.count("\n") == 1


FUNCTIONS = {name: row.check for name, row in EXERCISES.items() if isinstance(row.check, Function)}
NUMBERS = {name: row.check for name, row in EXERCISES.items() if isinstance(row.check, Number)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_constant_that_is_right_for_one_case_fails(name):
    one = FUNCTIONS[name]
    for seed in range(3):
        result = one.right(*one.draw(np.random.default_rng(seed)))
        with pytest.raises(NotYet):
            one(lambda *arguments, result=result: result)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_is_given_is_its_own(name):
    """A function that changes what it is given spoils no other case."""
    one, changed = FUNCTIONS[name], []

    def spoils(*arguments):
        result = SOLUTIONS[name](*arguments)
        if hasattr(arguments[0], "shape"):
            arguments[0][...] = 0
            changed.append(True)
        return result

    one(spoils)
    before = one.draw(np.random.default_rng(0))
    assert not changed or np.asarray(before[0]).any()


@pytest.mark.parametrize("kind", [np.float64, np.float32, torch.tensor, lambda v: np.array([v]), float])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_numpy_and_torch_are_numbers(name, kind):
    check(name, kind(SOLUTIONS[name]))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_truth_value_is_no_number(name):
    with pytest.raises(NotYet, match="a number is asked for, this is bool"):
        check(name, True)


@pytest.mark.parametrize("name", NUMBERS)
def test_no_message_holds_the_right_number(name):
    one = NUMBERS[name]
    for message in [*one.mistakes.values(), one.otherwise]:
        told = [float(token.replace(",", "")) for token in re.findall(r"\d[\d,]*(?:\.\d+)?", message)]
        assert not any(math.isclose(number, one.right, rel_tol=1e-3) for number in told), message


@pytest.mark.parametrize("name", EXERCISES)
def test_no_message_shows_a_result_or_computes(name):
    one = EXERCISES[name].check
    messages = one.mistakes.values() if isinstance(one, Number) else [message for _, message in one.mistakes]
    for message in [*messages, one.otherwise]:
        assert not re.search(r"\{|sqrt|\d \* |\) [*/] |= \w+ [*/(]", message), message


def test_a_teacher_adds_an_exercise(monkeypatch, capsys):
    own = Exercise("twice two", Number(4, 1e-6, {5: "one too many"}, "count again"), minutes=1)
    exercise(own, 4)
    monkeypatch.delitem(EXERCISES, "twice two", raising=False)
    EXERCISES.add(own)
    with pytest.raises(NotYet, match="one too many"):
        check("twice two", 5)
    with pytest.raises(ValueError, match="'twice two' is taken"):
        EXERCISES.add(Exercise("twice two", own.check, 2))
    del EXERCISES["twice two"]
    assert "twice two: right." in capsys.readouterr().out


def test_an_unknown_exercise_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of .*neuron, mask, psnr, step.*did you mean 'fisher'"):
        exercise("fischer", 1)


def test_the_answers_are_those_of_the_shipped_model(autoencoder):
    hidden, expand = autoencoder.decoder.hidden, autoencoder.decoder.expand
    assert SOLUTIONS["neuron"] == hidden.weight[0].numel() + 1 + expand.weight[:, 0].numel()
    assert SOLUTIONS["mask"] == sum(parameter.numel() for parameter in autoencoder.parameters())


def test_a_claim_prints_its_value_and_raises_under_the_runner(capsys):
    claim("one is less than two", 1 < 2, 1.23456)
    assert capsys.readouterr().out == "holds: one is less than two [1.235]\n"
    with pytest.raises(ClaimError, match=r"this does not hold here: two is less than one \[2\]"):
        claim("two is less than one", 2 < 1, 2)


def test_by_hand_a_false_claim_is_told_and_the_lesson_goes_on(monkeypatch, capsys):
    monkeypatch.delenv(STRICT)
    claim("two is less than one", 2 < 1, 2)
    assert capsys.readouterr().out == "does not hold with your settings: two is less than one [2]\n"


def test_a_claim_about_time_never_stops_anybody(capsys):
    claim("it is fast", False, 3.0, timed=True)
    claim("it is fast", True, 1.0, timed=True)
    assert capsys.readouterr().out == "not on this machine, now: it is fast [3]\nholds: it is fast [1]\n"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (834_577, "834,577"),
        (torch.tensor(0.25), "0.25"),
        (np.float32(2 / 3), "0.6667"),
        ("taylor", "taylor"),
        ([1.0, 2.5], "1, 2.5"),
        (torch.tensor([1.0, 2.5]), "1, 2.5"),
        ({"a": 1.5}, "a 1.5"),
        (("taylor", 0.5), "taylor, 0.5"),
    ],
)
def test_values_of_every_kind_are_printed(value, told, capsys):
    claim("so it is", True, value)
    assert capsys.readouterr().out == f"holds: so it is [{told}]\n"


def test_a_claim_has_to_have_a_value():
    with pytest.raises(TypeError, match="value"):
        claim("so it is", True)


@pytest.mark.parametrize("kind", [float, np.float64, np.int64, torch.tensor])
def test_a_guess_may_be_wrong_but_not_nonsense(kind):
    assert guess(kind(3), 0, 10, "dB") == 3
    with pytest.raises(ValueError, match="must be a number from 0 to 10, got 40"):
        guess(40, 0, 10, "dB")
    for nonsense in ("many", True):
        with pytest.raises(ValueError, match="must be a number"):
            guess(nonsense, 0, 10, "dB")


def test_nobody_guesses_for_the_learner(capsys):
    blank = guess(..., 0, 10, "dB")
    assert math.isnan(blank)
    assert "write a number first, from 0 to 10" in capsys.readouterr().out
    assert f"you guessed {blank:.1f}; {blank:+g}" == "you guessed nothing yet; nothing yet"


def test_a_claim_stands_beside_a_number_and_not_beside_a_page():
    with pytest.raises(ValueError, match=r"value must be short, a number or a few, got 4,?000 characters"):
        claim("the page says so", True, "word" * 1000)
    with pytest.raises(ValueError, match="value must be short"):
        claim("it goes out byte for byte", True, bytes(1000))
