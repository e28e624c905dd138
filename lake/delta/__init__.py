"""Delta tables: their contract, Parquet files, log and commits. Knows no release."""
