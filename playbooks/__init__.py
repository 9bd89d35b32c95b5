"""One module per context: the whole extraction, declared once."""
