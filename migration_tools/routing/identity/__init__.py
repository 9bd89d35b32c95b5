"""Who is asking: the monolith logs in, a service is told by a short-lived signed token or by the monolith's session."""
