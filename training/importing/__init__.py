"""Bring checkpoints that others made into this project's file: from torchvision, segmentation-models-pytorch, or plain."""
