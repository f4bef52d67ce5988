"""The gRPC services: requests to rows, scores to replies."""
