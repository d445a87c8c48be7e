"""Test the datasets."""
