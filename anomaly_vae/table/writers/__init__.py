"""Writers of the formats that pyarrow does not write batch by batch, or not at all."""
