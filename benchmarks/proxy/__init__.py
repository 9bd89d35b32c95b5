"""The proxy benchmark: requests per CPU-second beside other proxies, flips, and writes held under load."""
