"""How gains follow from a study: the responses that can be chosen by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tvt.evidence.response import Curve, Response
from tvt.types import Floats


class StudyForm:
    """How gains follow from a study: an entry of :data:`tvt.core.choices.RESPONSES`."""

    joint: bool = False
    """Whether it is fitted on all runs together, as :class:`Joint` is; else on the single sources' means."""

    curved: bool = False
    """Whether it has a curvature kappa, which is given, fitted on runs beside the matrix, or assumed."""


class ResponseForm(StudyForm, ABC):
    """A form in which gains follow from the single sources, cell by cell: what another package adds.

    It must be 0 at weight 0 and concave where it helps, so that the problem stays convex.
    """

    @abstractmethod
    def parts(self, mean: Floats, kappa: float | None) -> tuple[Floats, Floats, tuple[Curve, ...], str]:
        """``linear`` (S, T), ``concave`` (Q, S, T) and ``curves`` of a :class:`Response`, and its label.

        Args:
            mean: gains of training on one source alone, (S, T), complete.
            kappa: the curvature; None where the form has none.
        """


class Joint(StudyForm):
    """Gaps multiply, the target's own data saturates, and runs on several sources say what mixing adds: it is fitted on all
    runs together (:mod:`tvt.evidence.study_model`), and has no parts by cell.
    """

    joint = True


class Linear(ResponseForm):
    """Help and harm are proportional to the weight."""

    def parts(self, mean: Floats, kappa: float | None) -> tuple[Floats, Floats, tuple[Curve, ...], str]:
        """See :meth:`ResponseForm.parts`."""
        return mean, np.zeros((0, *mean.shape)), (), "linear"


class Log(ResponseForm):
    """Help bends by the log curve, harm is proportional to the weight."""

    curved = True

    def parts(self, mean: Floats, kappa: float | None) -> tuple[Floats, Floats, tuple[Curve, ...], str]:
        """See :meth:`ResponseForm.parts`."""
        assert kappa is not None  # noqa: S101 - curved forms are given one
        return np.minimum(mean, 0.0), np.maximum(mean, 0.0)[None], (Curve.log(kappa),), f"log, kappa {kappa:.3g}"


def transfer_response(
    mean: Floats,
    errors: Floats,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    form: ResponseForm,
    kappa: float | None,
) -> Response:
    """The response of a transfer study.

    Args:
        mean: gains of training on one source alone, (S, T), complete.
        errors: their standard errors, (S, T), NaN where unknown.
        sources, targets: names of rows and columns.
        form: how gains follow from them.
        kappa: its curvature, where it has one.
    """
    n = len(targets)
    linear, concave, curves, label = form.parts(mean, kappa)
    return Response(
        sources=tuple(sources),
        targets=tuple(targets),
        intercept=np.zeros(n),
        linear=linear,
        concave=concave,
        curves=curves,
        errors=errors,
        residual=np.zeros(n),
        reference=np.full(n, np.nan),
        label=label,
    )
