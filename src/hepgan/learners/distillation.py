"""Learning from the paths of another model."""

from __future__ import annotations

from typing import ClassVar, cast

import torch

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureBatch
from hepgan.learners.guides import GuidedLearner, Scene
from hepgan.models import OptimiserConfig, Student
from hepgan.objectives import Term

__all__ = ["StudentLearner"]


class StudentLearner(GuidedLearner):
    """A student learns by regression where the paths of its teacher lead.

    It learns from batches whose ``x`` holds whole paths, (N, (steps + 1) D): their start, the points
    between and their end. Critics and penalties, if there are any, compare with the teacher's events, the
    paths' ends.

    Reference: Luhman and Luhman, Knowledge distillation in iterative generative models, arXiv:2101.02388.
    """

    maker: ClassVar[str] = "student"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(
        kind="adamw", lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4
    )
    default_ema: ClassVar[float] = 0.998

    @property
    def student(self) -> Student:
        """The model."""
        return cast("Student", self.model)

    def prepare(self, data: FeatureBatch) -> None:
        """Take from the teacher's events what critics need.

        Raises:
            RecipeError: If the data are events instead of paths.
        """
        if data.x.shape[1] != (self.student.config.steps + 1) * self.student.noise_size:
            msg = "a student does not learn from events: train its teacher, and distil that (hepgan distill)"
            raise RecipeError(msg)
        super().prepare(self._part(data))

    def _own_terms(
        self, batch: FeatureBatch, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        """The squared error of one step of each path, of the features that exist, in units of a step."""
        student = self.student
        points = batch.x.reshape(len(batch), student.config.steps + 1, student.noise_size)
        rows = torch.arange(len(batch), device=batch.x.device)
        # Equally many events make each step.
        first = torch.randint(student.config.steps, (), generator=generator, device=rows.device)
        k = (rows + first) % student.config.steps
        start, end = points[rows, k], points[rows, k + 1]
        # On a circle any number of turns will do, so that the way may be smooth where its end is cut.
        error = student.circles.between(end, student.moved(start, k, batch.context, batch.mask))
        error = error / student.length
        if batch.mask is not None:
            error = error * batch.mask
        return [Term("path", (batch.weight * error.square().mean(dim=1)).mean())]

    def _own_floors(self, scene: Scene) -> list[Term]:
        return [Term("path", scene.real.batch.x.new_zeros(()))]

    def _part(self, batch: FeatureBatch) -> FeatureBatch:
        """The events at the ends of the paths."""
        return batch.with_x(self.student.circles.wrapped(batch.x[:, -self.student.noise_size :]))
