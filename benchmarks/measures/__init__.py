"""What is measured, one thing a file; each function brings its own tables to the start and returns seconds."""
