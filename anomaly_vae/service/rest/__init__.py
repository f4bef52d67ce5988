"""The Open Inference Protocol, version 2, over HTTP/1.1 and JSON."""
