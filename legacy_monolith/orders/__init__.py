"""Orders: purchase, transitions, and the jobs that change orders behind the API."""
