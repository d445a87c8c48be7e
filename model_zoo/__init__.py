"""Networks, class tables, preprocessing and checkpoints: what training and serving must do alike."""
