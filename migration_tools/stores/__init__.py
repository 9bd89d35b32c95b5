"""Where rows live, one room per engine; PostgreSQL first."""
