"""The scoring service: gRPC for rows, HTTP for probes and metrics. Needs the [serve] extra."""
