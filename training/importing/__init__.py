"""Bring others' checkpoints into this project's file: torchvision's, segmentation-models-pytorch's, or plain ones."""
