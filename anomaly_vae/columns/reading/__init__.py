"""How the cells of a table become numbers: what a column holds is recognised once, in training, and kept."""
