"""Train and evaluate segmentation networks; the checkpoints it leaves are served as they are."""
