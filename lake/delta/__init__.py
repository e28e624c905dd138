"""Delta tables: their contract, Parquet files, log and commits. This package knows no release."""
