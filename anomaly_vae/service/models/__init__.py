"""The models that are served: which versions there are, which are loaded, and which one answers a request."""
