"""The reply of GetModel."""

from __future__ import annotations

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.explanation_messages import MOST_EXPLAINED
from anomaly_vae.service.rpc.shape_messages import describe_input, describe_shape
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig

__all__ = ["describe"]


def describe(served: Served, config: ServeConfig) -> pb.Model:
    """Return the model's columns, calibration and estimator, and the limits of a request."""
    manifest, scorer = served.scorer.bundle.manifest, served.scorer
    return pb.Model(
        name=served.name,
        version=served.version,
        bundle_digest=scorer.bundle.digest,
        format_version=manifest.format_version,
        created_by=manifest.created_by,
        created_at=manifest.created_at,
        columns=_columns(served),
        label=manifest.schema.label or "",
        calibration=_calibration(served),
        estimator=pb.Estimator(
            num_samples=manifest.estimator.num_samples,
            target_error=manifest.estimator.target_error,
            careful_below=manifest.estimator.careful_below,
            scramblings=manifest.estimator.scramblings,
            budgets=served.budgets,
        ),
        limits=pb.Limits(
            max_rows=config.max_rows,
            max_columns=config.max_columns,
            max_samples=config.max_samples,
            max_message_bytes=config.max_message_bytes,
            max_explain=MOST_EXPLAINED,
        ),
        inputs=map(describe_input, manifest.schema.inputs),
        missing_values=manifest.schema.missing_values,
        shape=describe_shape(manifest.schema.shape),
    )


def _columns(served: Served) -> list[pb.ModelColumn]:
    return [
        pb.ModelColumn(
            name=column.name,
            kind=column.kind,
            value=column.value,
            categories=column.categories or (),
            step=column.step,
            origin=column.origin,
            rare=column.rare,
            other_share=column.other_share,
            novelty=column.novelty,
            period=column.period,
        )
        for column in served.scorer.schema.columns
    ]


def _calibration(served: Served) -> pb.Calibration:
    calibration = served.scorer.bundle.manifest.calibration
    return pb.Calibration(
        threshold=calibration.threshold,
        target_fpr=calibration.target_fpr,
        effective_fpr=calibration.effective_fpr,
        confidence=calibration.confidence,
        num_rows=calibration.num_rows,
        rank=calibration.rank,
        num_novel=calibration.num_novel,
        tail=calibration.tail,
        upper_threshold=calibration.upper_threshold,
        contrast_threshold=calibration.contrast_threshold,
    )
