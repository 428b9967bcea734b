"""The store: run folders, what a matrix asked for, Parquet, provenance."""
