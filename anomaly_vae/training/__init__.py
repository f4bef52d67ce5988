"""Training, calibration and export: the only part that needs torch, scikit-learn, scipy and onnx."""
