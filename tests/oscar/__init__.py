"""A monolith that nobody here wrote: django-oscar as a project, with the toolkit installed by settings alone."""
