"""Laws of what the benchmarks measure."""
