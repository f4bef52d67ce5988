"""Batch jobs: read tables, series or images, score or encode their rows and write the result in input order."""

from anomaly_vae.arrow.results import FLAG_SCHEMA, OUTPUT_SCHEMA
from anomaly_vae.batch.encoding import encode_images, encode_series, encode_table
from anomaly_vae.batch.explaining import Explaining
from anomaly_vae.batch.image_scoring import IMAGE_SCHEMA, score_images
from anomaly_vae.batch.sampling import sample_shaped, sample_table
from anomaly_vae.batch.scoring import RowScorer, score_table
from anomaly_vae.batch.series_input import SeriesInput, read_series
from anomaly_vae.batch.series_scoring import SERIES_SCHEMA, score_series
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.score_options import ScoreOptions

__all__ = [
    "FLAG_SCHEMA",
    "IMAGE_SCHEMA",
    "OUTPUT_SCHEMA",
    "SERIES_SCHEMA",
    "Explaining",
    "RowScorer",
    "ScoreOptions",
    "ScoreSummary",
    "SeriesInput",
    "encode_images",
    "encode_series",
    "encode_table",
    "read_series",
    "sample_shaped",
    "sample_table",
    "score_images",
    "score_series",
    "score_table",
]
