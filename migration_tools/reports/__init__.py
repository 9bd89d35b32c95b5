"""Reports: the five kinds with their versions and schemas, and renderings that several kinds share."""
