"""The posterior of tables of mixture runs: intervals that hold, bounds, and tables as people have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tvt.core.mixture import Mixture
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.evidence.fit import fit_runs
from tvt.evidence.learning import fit_posterior
from tvt.evidence.predict import predict
from tvt.selection.engine import select
from tvt.types import Floats

TRIVIAQA = """\
0 .1246 0 .0829 0 0 0 .4167 .3758 0 .63
0 0 0 0 0 0 0 .7178 0 .2822 .6
0 0 .1319 0 .1187 .0871 0 .4336 0 .2287 .61
0 0 0 .1668 0 .2105 0 .4939 0 .1287 .66
.1715 .1901 0 .0668 0 0 0 .5716 0 0 .58
0 0 0 .0959 0 0 0 .4778 .4263 0 .59
0 0 0 0 0 0 0 .662 0 .338 .64
.1123 0 0 .0565 0 0 0 .4513 .38 0 .59
0 .1526 0 0 0 0 0 .6395 0 .2079 .62
0 0 0 0 0 0 1 0 0 0 .52
0 .1233 .0623 0 0 .1358 0 .4451 0 .2335 .62
0 0 0 0 0 0 .1389 .4974 .3637 0 .59
0 0 0 .184 0 0 0 0 0 .816 .57
0 0 .15 0 .0735 0 0 .6417 0 .1348 .61
0 0 0 0 .0653 .5075 0 .4272 0 0 .55
0 0 0 .1092 0 0 0 .5508 .34 0 .65
"""
"""Weights of 10 sources and the accuracy on TriviaQA of 16 finetuned models, from chenzhiliang94/Data-Mixing on GitHub
(results/*/data); and one more mixture of theirs, whose accuracy is .56."""
ONE = np.array([[0.6692, 0, 0, 0, 0.3308, 0, 0, 0, 0, 0]])
TRUTH = 0.56


def table(weights: Floats, scores: Floats, **more: object) -> MixtureRuns:
    """Runs of sources s0, s1, ... and targets t0, t1, ..."""
    scores = scores[:, None] if scores.ndim == 1 else scores
    return MixtureRuns(
        ids=tuple(map(str, range(len(weights)))),
        sources=tuple(f"s{i}" for i in range(weights.shape[1])),
        targets=tuple(f"t{j}" for j in range(scores.shape[1])),
        weights=weights,
        scores=scores,
        **more,  # type: ignore[arg-type]
    )


def triviaqa() -> MixtureRuns:
    rows = np.array([[float(x) for x in line.split()] for line in TRIVIAQA.splitlines()])
    return table(rows[:, :-1] / rows[:, :-1].sum(axis=1, keepdims=True), rows[:, -1])


def drawn(n: int, sources: int, targets: int, noise: float, seed: int) -> tuple[MixtureRuns, Floats]:
    """Scores with diminishing returns of some sources, and noise; with the truth at the same rows."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(sources, 0.5), n)
    reach = rng.gamma(1, 1, (sources, targets)) * (rng.random((sources, targets)) < 0.4)
    truth = 0.4 + 0.3 * (1 - np.exp(-np.log1p(weights / 0.02) @ reach / 4))
    return table(weights, truth + rng.normal(0, noise, truth.shape)), truth


def test_sixteen_real_runs_predict_within_their_range_and_their_interval_holds_the_truth() -> None:
    runs = triviaqa()
    (mixture,), report, *_ = predict(runs, ONE, runs.sources, SelectionSpec())
    found = mixture["t0"]
    low, high = found.value_interval
    width = float(np.ptp(runs.scores))
    assert found.value is not None
    assert runs.scores.min() - width < found.value < runs.scores.max() + width
    assert low < TRUTH < high
    assert report is not None
    assert report.overall_skill < 0.1  # the runs hardly tell more than their mean


def test_sixteen_real_runs_are_no_signal_and_the_best_of_them_is_named() -> None:
    found = select(triviaqa(), SelectionSpec())
    assert isinstance(found, Mixture)
    assert found.verdict == "no_signal"
    assert found.best_measured is not None
    assert found.weights == pytest.approx({**dict.fromkeys(found.weights, 0.0), **found.best_measured.weights}, abs=1e-6)


def test_predictions_stay_within_the_tables_range_and_its_width_everywhere() -> None:
    for seed in range(3):
        runs, _ = drawn(12, 6, 2, 0.05, seed)
        everywhere = np.concatenate([np.eye(6), np.random.default_rng(0).dirichlet(np.full(6, 0.3), 200)])
        posterior = fit_posterior(runs)
        width = np.ptp(posterior.gains, axis=0)
        low, high = posterior.interval(everywhere, 0.9)
        for values in (posterior.at(everywhere).mean, low, high):
            assert (values >= posterior.gains.min(axis=0) - width - 1e-9).all()
            assert (values <= posterior.gains.max(axis=0) + width + 1e-9).all()


def test_intervals_of_new_runs_hold_as_often_as_they_say() -> None:
    inside = []
    for seed in range(12):
        runs, _ = drawn(80, 6, 2, 0.02, seed)
        posterior = fit_posterior(runs.take(range(40)))
        low, high = posterior.interval(runs.weights[40:], 0.9)
        gains = runs.scores[40:] - runs.scores[:40].mean(axis=0)
        inside.append(((low <= gains) & (gains <= high)).mean())
    assert 0.85 <= np.mean(inside) <= 0.95


def test_the_mean_lies_within_its_error_of_the_truth() -> None:
    inside = []
    for seed in range(12):
        runs, truth = drawn(80, 6, 2, 0.05, seed)
        estimate = fit_posterior(runs.take(range(40))).at(runs.weights[40:])
        left = estimate.mean - (truth[40:] - runs.scores[:40].mean(axis=0))
        assert (estimate.se < estimate.sd).all()
        inside.append((np.abs(left) < 1.645 * estimate.se).mean())
    assert 0.8 <= np.mean(inside) <= 0.97


def test_scores_of_mere_noise_are_predicted_no_worse_than_by_their_mean() -> None:
    skills, errors = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        runs = table(rng.dirichlet(np.full(8, 0.5), 60), rng.normal(0.6, 0.03, 60))
        posterior, _, report = fit_runs(runs.take(range(16)))
        mean = runs.scores[:16].mean()
        ahead = np.abs(posterior.at(runs.weights[16:]).mean + mean - runs.scores[16:]).mean()
        errors.append(ahead / np.abs(mean - runs.scores[16:]).mean())
        skills.append(report.overall_skill)
    assert np.mean(errors) < 1.05
    assert np.median(skills) < 0.05


def test_losses_are_scores_turned_over() -> None:
    runs, _ = drawn(24, 5, 2, 0.01, 0)
    turned = replace(runs, scores=-runs.scores, lower_is_better=True)
    weights = np.eye(5)
    one, other = (predict(each, weights, runs.sources)[0] for each in (runs, turned))
    for a, b in zip(one, other, strict=True):
        assert a["t0"].gain == pytest.approx(b["t0"].gain, abs=1e-6)
        assert a["t0"].value_interval == pytest.approx([-x for x in reversed(b["t0"].value_interval)], abs=1e-6)


def test_missing_scores_are_left_out_target_by_target() -> None:
    runs, truth = drawn(60, 5, 3, 0.01, 1)
    scores = runs.scores.copy()
    scores[::3, 0] = np.nan
    scores[:, 2] = np.nan
    posterior, response, report = fit_runs(replace(runs, scores=scores))
    estimate = posterior.at(runs.weights)
    unseen = np.abs(estimate.mean[::3, 0] + np.nanmean(scores[:, 0]) - truth[::3, 0])
    assert unseen.mean() < 0.5 * truth[:, 0].std()
    assert np.isfinite(estimate.mean[:, :2]).all()
    assert np.isfinite(response.gains(runs.weights)[:, :2]).all()
    assert np.isnan(report.skill[2])
    assert np.isfinite(report.overall_skill)


@pytest.mark.parametrize("what", ["constant score", "constant source", "one mixture", "twice", "eight", "equal weights"])
def test_tables_as_people_have_them(what: str) -> None:
    rng = np.random.default_rng(3)
    runs, _ = drawn(20, 4, 2, 0.01, 3)
    weights, scores = runs.weights.copy(), runs.scores.copy()
    if what == "constant score":
        scores[:, 0] = 0.5
    if what == "constant source":
        weights = np.concatenate([np.full((20, 1), 0.2), 0.8 * weights], axis=1)
    if what == "one mixture":
        weights[:] = weights[0]
    if what == "twice":
        weights, scores = np.repeat(weights, 2, axis=0), np.repeat(scores, 2, axis=0)
    if what == "eight":
        weights, scores = weights[:8], scores[:8]
    if what == "equal weights":
        weights[:] = 0.25
        scores = scores + rng.normal(0, 0.01, scores.shape)
    posterior, response, report = fit_runs(table(weights, scores))
    estimate = posterior.at(weights)
    assert np.isfinite(estimate.mean).all()
    assert np.isfinite(estimate.sd).all()
    assert np.isfinite(response.gains(weights)).all()
    assert report.runs == len(weights)
    if what == "constant score":
        assert estimate.mean[:, 0] == pytest.approx(0, abs=1e-12)
        assert estimate.sd[:, 0] == pytest.approx(0, abs=1e-12)
    if what in ("one mixture", "equal weights"):
        assert report.overall_skill < 0.1


def test_known_errors_of_scores_widen_the_intervals_and_repeats_tell_the_noise() -> None:
    runs, _ = drawn(40, 5, 1, 0.0, 5)
    sure = fit_posterior(runs)
    unsure = fit_posterior(replace(runs, errors=np.full(runs.scores.shape, 0.05)))
    assert (unsure.at(np.eye(5)).sd > 0.05).all()
    assert (unsure.at(np.eye(5)).sd > sure.at(np.eye(5)).sd).all()
    rng = np.random.default_rng(0)
    weights, scores = np.repeat(runs.weights[:10], 6, axis=0), np.repeat(runs.scores[:10], 6, axis=0)
    noisy = table(weights, scores + rng.normal(0, 0.1, scores.shape))
    estimate = fit_posterior(noisy).at(weights)
    assert np.median(np.sqrt(estimate.sd**2 - estimate.se**2)) == pytest.approx(0.1, rel=0.3)


def test_the_relative_is_near_the_posterior_where_runs_are_and_bounded_from_above() -> None:
    runs, truth = drawn(60, 6, 2, 0.01, 7)
    posterior, response, _ = fit_runs(runs)
    left = response.gains(runs.weights) - posterior.at(runs.weights).mean
    assert np.sqrt((left**2).mean()) < 0.35 * truth.std()
    assert response.limits is not None
    assert (response.concave >= 0).all()
    assert (response.limits <= posterior.gains.max(axis=0) + 3 * np.ptp(posterior.gains, axis=0)).all()


def test_what_was_learned_gives_the_same_posterior_again() -> None:
    runs, _ = drawn(30, 5, 3, 0.01, 8)
    learned = fit_posterior(runs)
    again = fit_posterior(runs, learned.form)
    assert again.at(np.eye(5)).mean == pytest.approx(learned.at(np.eye(5)).mean, abs=1e-9)


def test_order_of_sources_and_targets_plays_no_part() -> None:
    runs, _ = drawn(20, 4, 2, 0.01, 9)
    turned = runs.reindex(sources=runs.sources[::-1], targets=runs.targets[::-1])
    one, other = fit_posterior(runs).at(np.eye(4)).mean, fit_posterior(turned).at(np.eye(4)[:, ::-1]).mean[:, ::-1]
    assert one == pytest.approx(other, abs=1e-3)
