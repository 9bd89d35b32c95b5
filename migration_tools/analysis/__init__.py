"""Where to cut: contexts, what couples them in models, code, at run time and in the database, and what a cut costs."""
