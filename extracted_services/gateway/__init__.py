"""The orders service: purchases and their life until shipped or cancelled."""
