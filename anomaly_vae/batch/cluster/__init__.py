"""Score the rows of a table on the computers of a cluster; the output is that of one process, byte for byte."""
