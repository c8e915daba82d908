"""Stores and their models as STAC catalogues that stand by themselves."""
