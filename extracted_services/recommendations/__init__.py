"""The recommendations service: what was bought together, and what the shop took in, from the orders' events."""
