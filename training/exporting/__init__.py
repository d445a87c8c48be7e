"""Write checkpoints in the formats of other runtimes: ONNX."""
