"""Made-up inputs of the tests."""
