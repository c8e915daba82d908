"""What we publish: stores and models as STAC collections and items. Knows no arrays."""
