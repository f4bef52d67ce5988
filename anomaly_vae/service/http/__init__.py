"""HTTP on the metrics port: /metrics, /livez and /readyz."""
