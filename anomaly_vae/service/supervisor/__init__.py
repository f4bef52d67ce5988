"""Several processes that serve one port: one supervisor, which starts, watches and restarts its workers."""
