"""What is known of responses before a study says anything: learned from measured studies with mixture runs.

``scripts/learn_priors.py`` computes the values from the studies given to it and prints this module's figures.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Priors of the joint response of a study (:mod:`tvt.evidence.study_model`)."""

    own_kappa: float = 9.8
    """Median curvature of a target's own source: ``log(1 + kappa w) / log(1 + kappa)``."""
    own_kappa_log_sd: float = 1.5
    """Standard deviation of its natural logarithm from study to study."""
    mixing: float = 0.45
    """Standard deviation of what mixing sources adds or takes beside their sum, in units of a target's typical transfer."""
    mixing_log_sd: float = 0.5
    """Standard deviation of its natural logarithm from study to study."""
    level: float = 0.4
    """Share of the variance of mixing that all mixtures of a study have in common."""
    length: float = 0.49
    """Distance of the roots of the weights over which the rest is alike."""
    shared_questions: float = 0.5
    """Share of the questions' error that all runs on a target have in common: the same questions, the same base answers."""
    between_targets: float = 0.22
    """Correlation of the errors of two targets' predictions at the same mixture."""


PRIORS = Priors()
