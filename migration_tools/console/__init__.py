"""The console: web pages for staff over what was observed and kept; what moves a context is only asked for."""
