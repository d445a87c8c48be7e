"""Test what the report page is made of."""
