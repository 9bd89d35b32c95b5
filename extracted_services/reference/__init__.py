"""The reference service: currencies, countries and taxes, in versions that never change."""
