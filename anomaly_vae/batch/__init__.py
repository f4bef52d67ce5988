"""Batch jobs: read a table, score or encode its rows and write the result, in bounded memory and input order."""

from anomaly_vae.batch.encoding import encode_table
from anomaly_vae.batch.sampling import sample_table
from anomaly_vae.batch.scoring import FLAG_SCHEMA, OUTPUT_SCHEMA, RowScorer, score_table
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.score_options import ScoreOptions

__all__ = [
    "FLAG_SCHEMA",
    "OUTPUT_SCHEMA",
    "RowScorer",
    "ScoreOptions",
    "ScoreSummary",
    "encode_table",
    "sample_table",
    "score_table",
]
