"""STAC items: what each says of its acquisition, its files and its digital numbers."""
