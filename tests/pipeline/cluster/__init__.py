"""Tests of clusters and of the stream of tasks."""
