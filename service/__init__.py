"""The REST service: pictures in, segmentation masks out."""
