"""Closed forms against scikit-learn and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from labelwise.data.notes import tell
from labelwise.errors import DataError, ModelError
from labelwise.models.closed_form import NearestNeighbours
from labelwise.training.closed_form import fit as fit_module
from labelwise.training.closed_form import kernel, linear, nearest
from labelwise.training.closed_form.candidates import Samples, Tamer
from labelwise.training.closed_form.fit import SOLVERS, fit_closed_form, inverse_temperature
from labelwise.training.closed_form.kernel import ridge_leave_one_out

NAMES = sorted(SOLVERS)


def points(n: int = 60, seed: int = 0, scale: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    return (rng.normal(size=(n, 4)) + 2 * np.eye(3, 4)[label] + 5) * scale, label


def samples(n: int = 60, seed: int = 0, scale: float = 1.0, classes: int = 3) -> Samples:
    x, label = points(n, seed, scale)
    return Samples(torch.from_numpy(x), torch.nn.functional.one_hot(torch.from_numpy(label), classes).double())


def soft(n: int = 60) -> Samples:
    y = np.random.default_rng(5).dirichlet(np.ones(3), n)
    return Samples(samples(n).x, torch.from_numpy(y))


def scores(name: str, fit: Samples, asked: Tensor, words: str, args: dict[str, int | float] | None = None) -> Tensor:
    """Of the candidate that is described by ``words``; its network says the same."""
    found = next(one for one in SOLVERS[name](fit, asked, args or {}, 0) if words in one.words)
    with torch.no_grad():
        torch.testing.assert_close(found.net()(asked), found.scores, rtol=1e-6, atol=1e-6)
    return found.scores


def as_hard(fit: Samples) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Soft labels as weighted samples, one for each class."""
    n, k = fit.y.shape
    return np.repeat(fit.x.numpy(), k, 0), np.tile(np.arange(k), n), fit.y.numpy().ravel()


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
def test_lda_is_scikit_learns(shrinkage: float) -> None:
    fit, asked = samples(), samples(20, seed=1).x
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(fit.x.numpy(), points()[1])
    ours = torch.softmax(scores("lda", fit, asked, f"shrinkage {shrinkage:g}"), 1)
    np.testing.assert_allclose(ours, theirs.predict_proba(asked.numpy()), atol=1e-8)


def test_lda_of_soft_labels_is_that_of_weighted_samples() -> None:
    fit, asked = soft(), samples(20, seed=1).x
    x, label, weight = as_hard(fit)
    often = np.repeat(np.arange(len(x)), np.round(1000 * weight).astype(int))  # scikit-learn's has no weights
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(x[often], label[often])
    ours = torch.softmax(scores("lda", fit, asked, "shrinkage 0"), 1)
    np.testing.assert_allclose(ours, theirs.predict_proba(asked.numpy()), atol=2e-3)


@pytest.mark.parametrize("kind", [samples, soft])
def test_logistic_regression_is_scikit_learns(kind: type) -> None:
    fit, asked = kind(), samples(20, seed=1).x
    x, label, weight = as_hard(fit)
    spread = float((fit.x - fit.x.mean(0)).square().mean().sqrt())
    theirs = LogisticRegression(C=0.1, tol=1e-10, max_iter=1000).fit(x / spread, label, weight)
    ours = torch.softmax(scores("logistic", fit, asked, "C 0.1"), 1)
    np.testing.assert_allclose(ours, theirs.predict_proba(asked.numpy() / spread), atol=1e-5)


@pytest.mark.parametrize("kind", [samples, soft])
def test_kernel_ridge_is_scikit_learns(kind: type) -> None:
    """With all samples as centres, and the kernel and labels centred, as its own has no intercept."""
    fit, asked = kind(), samples(20, seed=1).x
    spread = float((fit.x - fit.x.mean(0)).square().mean().sqrt())
    gamma = 1 / (2 * fit.x.shape[1] * spread**2)
    mean = fit.y.mean(0).numpy()
    plain = KernelRidge(kernel="precomputed", alpha=0.1)

    def rbf(a: Tensor, b: Tensor) -> NDArray[np.float64]:
        return torch.exp(-gamma * torch.cdist(a, b).square()).numpy()

    own, theirs = rbf(fit.x, fit.x), rbf(asked, fit.x)
    centred = own - own.mean(0) - own.mean(1, keepdims=True) + own.mean()
    plain.fit(centred, fit.y.numpy() - mean)
    expected = plain.predict(theirs - own.mean(0) - theirs.mean(1, keepdims=True) + own.mean()) + mean
    ours = scores("kernel_ridge", fit, asked, "bandwidth 1, ridge 0.1")
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_few_centres_are_near_all_of_them() -> None:
    fit, asked = samples(200), samples(20, seed=1).x
    whole = scores("kernel_ridge", fit, asked, "bandwidth 2, ridge 1")
    part = scores("kernel_ridge", fit, asked, "bandwidth 2, ridge 1", {"centres": 60})
    assert not torch.equal(whole, part)
    torch.testing.assert_close(part, whole, atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", [samples, soft])
def test_nearest_neighbours_are_scikit_learns(kind: type) -> None:
    fit, asked = kind(), samples(20, seed=1).x
    found = KNeighborsClassifier(5).fit(fit.x.numpy(), points()[1]).kneighbors(asked.numpy(), return_distance=False)
    expected = np.average(fit.y.numpy()[found], axis=1, weights=[5, 4, 3, 2, 1])
    np.testing.assert_allclose(scores("knn", fit, asked, "5 neighbours"), expected, atol=1e-12)


# each sample without itself


@pytest.mark.parametrize("ridge", [0.01, 1.0, 100.0])
def test_leave_one_out_of_ridge_regression_is_that_of_fits_without_each_sample(ridge: float) -> None:
    fit = soft(30)
    found = ridge_leave_one_out(fit.x, fit.y, ridge)
    for row in range(30):
        rest = np.arange(30) != row
        refit = Ridge(alpha=ridge).fit(fit.x.numpy()[rest], fit.y.numpy()[rest])
        np.testing.assert_allclose(found[row], refit.predict(fit.x.numpy()[[row]])[0], atol=1e-8)


@pytest.mark.parametrize(("name", "words"), [("kernel_ridge", "bandwidth 0.7, ridge 0.1"), ("knn", "3 neighbours")])
def test_answers_of_samples_to_themselves_are_left_out(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernel ridge keeps its features, centres among them, and forgets the label."""
    monkeypatch.setattr(kernel, "BLOCK", 7)
    monkeypatch.setattr(nearest, "BLOCK", 7)
    fit = soft(24)
    found = next(one for one in SOLVERS[name](fit, None, {}, 0) if one.words.startswith(words)).scores
    spread = float((fit.x - fit.x.mean(0)).square().mean().sqrt())
    features = kernel.Nystroem.of(fit.x, 8**-0.5 / (0.7 * spread))(fit.x).numpy()
    for row in range(24):
        rest = np.arange(24) != row
        if name == "knn":
            near = torch.cdist(fit.x[[row]], fit.x[rest])[0].argsort()[:3]
            expected = np.average(fit.y[rest][near].numpy(), axis=0, weights=[3, 2, 1])
        else:
            refit = Ridge(alpha=0.1, tol=1e-12).fit(features[rest], fit.y.numpy()[rest])
            expected = refit.predict(features[[row]])[0]
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


def test_without_held_out_samples_linear_ones_are_cross_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "SHRINKAGE", (0.1,))
    monkeypatch.setattr(fit_module, "FOLDS", 60)  # each sample is a fold, so the order is seen
    fit = samples()
    [found] = fit_module._cross_fitted(linear.lda, fit, {}, 0)
    for row in (0, 31):
        rest = torch.arange(60) != row
        own = scores("lda", Samples(fit.x[rest], fit.y[rest]), fit.x[[row]], "shrinkage 0.1")
        torch.testing.assert_close(found.scores[[row]], own)


# what is chosen


def test_temperature_is_the_likeliest() -> None:
    held = soft()
    raw = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3 * held.y

    def loss(factor: float) -> float:
        return float(-(held.y * torch.log_softmax(factor * raw, 1)).sum(1).mean())

    for scale in (1.0, 1e-30, 1e30):
        factor, value = inverse_temperature(raw * scale, held.y)
        assert value == pytest.approx(loss(factor * scale)) and value <= min(loss(f) for f in np.logspace(-2, 2, 401))
    assert inverse_temperature(torch.zeros(60, 3).double(), held.y) == pytest.approx((1.0, np.log(3)))


@pytest.mark.parametrize("name", NAMES)
def test_the_choice_is_of_the_held_out_samples(name: str) -> None:
    """Held-out labels that are those of the samples themselves ask for the weakest regularisation."""
    fit = samples()
    wrong = Samples(fit.x, fit.y[np.random.default_rng(1).permutation(60)])
    kept, honest = fit_closed_form(name, {}, wrong, wrong), fit_closed_form(name, {}, wrong, samples(seed=9))
    with torch.no_grad():
        own, other = (net.net(wrong.x.float()).log_softmax(1) for net in (kept, honest))
    assert float((own * wrong.y).sum()) >= float((other * wrong.y).sum()) and kept.words != honest.words


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_scale_does_not_matter(name: str, held_out: bool) -> None:
    answers = []
    for scale in (1.0, 1e-30, 1e30):
        fit, held = samples(scale=scale), samples(30, seed=1, scale=scale)
        fitted = fit_closed_form(name, {}, fit, held if held_out else None)
        with torch.no_grad():
            answers.append(torch.softmax(fitted.net(held.x.float()), 1))
    torch.testing.assert_close(answers[1], answers[0], atol=2e-3, rtol=0)
    torch.testing.assert_close(answers[2], answers[0], atol=2e-3, rtol=0)
    assert float((answers[0].argmax(1) == samples(30, seed=1).y.argmax(1)).float().mean()) > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_does_not_reach_it(name: str) -> None:
    net, x = fit_closed_form(name, {}, samples()).net, samples(seed=1).x.float()
    with torch.no_grad():
        plain = net(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(net(x), plain)
            assert net(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_samples_is_never_the_answer(name: str) -> None:
    fit, far = samples(classes=5), torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 30
    fitted = fit_closed_form(name, {}, fit)
    with torch.no_grad():
        logits = fitted.net(far)
    assert torch.isfinite(logits).all() and (name == "kernel_ridge" or int(logits.argmax(1).max()) < 3)


@pytest.mark.parametrize("name", NAMES)
def test_equal_embeddings_and_duplicates_are_taken(name: str) -> None:
    fit = samples(12)
    same = Samples(torch.ones_like(fit.x), fit.y)
    with torch.no_grad():
        logits = fit_closed_form(name, {}, same).net(same.x.float())
        assert torch.isfinite(fit_closed_form(name, {}, fit).net(torch.full((1, 4), 1e30))).all()
    assert torch.isfinite(logits).all() and torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_fitted_is_refused(name: str) -> None:
    fit = samples(12)
    with pytest.raises(DataError, match=f"{name}: all 12 labels are of one class"):
        fit_closed_form(name, {}, Samples(fit.x, torch.eye(3).double()[[1] * 12]))
    with pytest.raises(DataError, match=f"{name}: embeddings and labels must be finite"):
        fit_closed_form(name, {}, Samples(fit.x / 0, fit.y))


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ModelError, match="expected one of lda, logistic, kernel_ridge, knn, got 'qda'"):
        fit_closed_form("qda", {}, samples())


def accuracy(name: str, fit: Samples, held_out: Samples | None) -> float:
    asked = samples(300, seed=7)
    with torch.no_grad():
        answers = fit_closed_form(name, {}, fit, held_out).net(asked.x.float())
    return float((answers.argmax(1) == asked.y.argmax(1)).double().mean())


@pytest.mark.parametrize("name", NAMES)
def test_broken_rows_do_not_decide_on_a_fit(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    clean, held_out = samples(150), samples(60, seed=3)
    sound = accuracy(name, clean, held_out)
    assert sound > 0.7 and capsys.readouterr().err == ""
    cell, rows, chosen = clean.x.clone(), clean.x.clone(), held_out.x.clone()
    cell[7, 1] = 1e8
    rows[[3, 90]] = torch.tensor([[1e6, -1e6, 1e5, 3.0], [-1e12, 0, 1e12, 0]]).double()
    chosen[5] = -1e6
    for fit, select in ((cell, held_out.x), (rows, held_out.x), (clean.x, chosen)):
        found = accuracy(name, Samples(fit, clean.y), Samples(select, held_out.y))
        assert found == pytest.approx(sound, abs=0.02)
    assert f"{name}: 1 embeddings lie more than 10 times as far" in capsys.readouterr().err
    assert accuracy(name, Samples(cell, clean.y), None) == pytest.approx(accuracy(name, clean, None), abs=0.02)


def test_rows_that_are_not_far_stay_as_they_are_and_broken_ones_become_as_far_as_others() -> None:
    fit = samples(200)
    tamer = Tamer(fit.x)
    assert tamer(fit.x) is fit.x and tamer.count == 0 and tamer.divisor is None
    far = fit.x.clone()
    far[4] += 1e9
    tamed = tamer(far)
    middle = fit.x.median(0).values
    usual = (fit.x - middle).norm(dim=1).median()
    assert (tamed[4] - middle).norm().item() == pytest.approx(usual.item()) and tamer.count == 1
    assert torch.equal(tamed[[0, 199]], fit.x[[0, 199]])
    half = torch.zeros(9, 2).double()
    half[0] = 1  # most rows are alike: nothing says how far is far
    assert Tamer(half)(half) is half


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_column_in_other_units_does_not_drown_the_others(
    name: str, held_out: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, select, asked = samples(90), samples(30, seed=3), samples(60, seed=7).x
    units = torch.tensor([1, 1, 1e5, 1]).double()
    answers = []
    for factor in (torch.ones(4).double(), units):
        tell.cache_clear()
        held = Samples(select.x * factor, select.y) if held_out else None
        with torch.no_grad():
            net = fit_closed_form(name, {}, Samples(fit.x * factor, fit.y), held).net
            answers.append(torch.softmax(net((asked * factor).float()), 1))
    right = [float((found.argmax(1) == samples(60, seed=7).y.argmax(1)).double().mean()) for found in answers]
    assert right[0] > 0.7 and right[1] == pytest.approx(right[0], abs=0.051)
    assert f"{name}: 1 columns of the embeddings vary more than 20 times as much" in capsys.readouterr().err


def test_wide_columns_get_the_width_of_the_median_one_whatever_a_few_rows_hold() -> None:
    clean = torch.randn(400, 9, generator=torch.Generator().manual_seed(0)).double()
    x = clean * torch.tensor([1, 1, 1e4, 1, 1, 15, 1, 1e-3, 0]).double()
    broken = x.clone()
    broken[::25] = 1e12
    for rows in (x, broken):
        tamer = Tamer(rows)
        assert tamer.divisor is not None and (tamer.divisor != 1).nonzero()[:, 0].tolist() == [2]
        assert tamer(x)[:, 2].std().item() == pytest.approx(1, rel=0.2)
        assert torch.equal(tamer(x)[:, 5], x[:, 5])


def test_a_network_with_one_scale_for_all_columns_is_still_read() -> None:
    net = fit_closed_form("knn", {}, samples()).net
    assert isinstance(net, NearestNeighbours) and len(net.scale.unique()) == 1
    state = net.state_dict() | {"scale": net.scale[0]}
    again = NearestNeighbours(3, 4, len(net.samples), net.neighbours)
    again.load_state_dict(state)
    assert torch.equal(again.scale, net.scale)
