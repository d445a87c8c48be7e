"""Find how the service scales: what is measured, the cost model that it is fitted with, tables and plots."""
