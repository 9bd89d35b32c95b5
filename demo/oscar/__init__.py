"""The demonstration on django-oscar, a shop that nobody here wrote: contexts leave it under its own customers."""
