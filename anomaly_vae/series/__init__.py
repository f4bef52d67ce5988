"""Time series: regular steps, windows of them, and one score per step."""
