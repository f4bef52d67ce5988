"""Rows: columns, their kinds and transforms, and their likelihood heads."""
