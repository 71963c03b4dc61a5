"""Since when usage events are kept."""

from django.db import models


class EventRetention(models.Model):
    """One row, once a day's events have been dropped: the first day whose events are all there still."""

    kept_from = models.DateField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_retention")]

    def __str__(self) -> str:
        return f"since {self.kept_from}"
