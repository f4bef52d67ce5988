"""Log, metrics and traces of the service."""
