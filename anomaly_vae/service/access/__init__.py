"""Access control: TLS, bearer tokens, and secret files that are read again when they change."""
