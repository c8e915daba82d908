"""Halves of a pixel's observations: does the standard deviation mean what it says?"""
