"""The page of ``anomaly-vae evaluate --html``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomaly_vae.assessment import Evaluation

__all__ = ["write_evaluation"]


def write_evaluation(
    evaluation: Evaluation, model: str, input_: str, left_out: int, path: Path, *, overwrite: bool
) -> None:
    """Write an evaluation as a page; the file appears under its name only when it is complete.

    Args:
        evaluation: What was found.
        model: The directory of the model.
        input_: Where the rows are.
        left_out: Rows that cannot be used.
        path: The page.
        overwrite: Whether an existing page is replaced.

    Raises:
        ConfigError: The file exists or cannot be written.
    """
    from anomaly_vae.pages.evaluation import evaluation_page
    from anomaly_vae.pages.texts import counted
    from anomaly_vae.storage import atomic_file

    notes = [f"{counted(left_out, 'row')} of the input could not be used."] if left_out else []
    page = evaluation_page(evaluation, Path(model).absolute().name, input_, notes)
    with atomic_file(path, overwrite=overwrite) as part:
        part.write_text(page, encoding="utf-8")
