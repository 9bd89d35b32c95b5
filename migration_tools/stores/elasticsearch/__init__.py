"""Elasticsearch and OpenSearch as stores, over plain HTTP: what both have in common since Elasticsearch 7."""
