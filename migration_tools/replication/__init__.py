"""What a service keeps of others: copies fed by events, tables fed by polling, commands sent until they arrive."""
