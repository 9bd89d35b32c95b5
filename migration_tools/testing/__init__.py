"""What projects that use the toolkit need in their own tests: embedded servers, fault points, fixtures."""
