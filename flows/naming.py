"""Names as Prefect allows them. Limit: models whose names differ only in other characters get the same one."""

from __future__ import annotations

import re


def slug(model: str) -> str:
    """A model's name for keys of artifacts, ids of resources, names of deployments and folders."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"
