"""The model on disk: a directory that is written completely or not at all, and checked when it is read."""
