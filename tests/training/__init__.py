"""Test the training package."""
