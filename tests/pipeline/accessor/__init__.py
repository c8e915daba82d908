"""Tests of terralatent.pipeline.accessor."""
