"""The extracted services: one Django project per package, none of which imports another."""
