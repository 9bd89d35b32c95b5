"""The machine that moves a context between phases: gates, executor, dry run, one file per phase."""
