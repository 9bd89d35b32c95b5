"""What the service does when other sides' domain events arrive: nothing yet; its rows come by the sync."""
