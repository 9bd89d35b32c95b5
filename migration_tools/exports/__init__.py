"""Cold data: what changed in a context's tables since the last export, for Parquet files and analytical stores."""
