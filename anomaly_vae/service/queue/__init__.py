"""From the event loop to the compute threads and back: admission, order, batches."""
