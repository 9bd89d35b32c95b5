"""Who answers a URL pattern, by method, share and cohort: the versioned routing table and its decisions."""
