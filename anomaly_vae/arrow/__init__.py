"""Arrow in memory: columns to numbers, scores to columns, and scores of batches, for files and for other programs.

``anomaly_vae.arrow.methods`` can be imported without pyarrow; all other modules import it.
"""
