"""What the shop sells: categories and products, and the visitor's cart."""
