"""A Django application of awkward shapes, and tests that carry each of them there and back."""
