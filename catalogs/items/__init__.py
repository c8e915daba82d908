"""STAC items: what each states of its acquisition, its files and its digital numbers."""
