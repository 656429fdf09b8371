"""Names as Prefect wants them. Limit: two models whose names differ in signs only would share one."""

from __future__ import annotations

import re


def slug(model: str) -> str:
    """A model's name for keys of artifacts, ids of resources, names of deployments and folders."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"
