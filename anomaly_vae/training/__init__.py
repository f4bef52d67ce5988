"""Training, calibration and export. Only this package needs torch, scikit-learn, scipy and onnx."""
