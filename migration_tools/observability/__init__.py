"""What machines watch: metrics, health and logs."""
