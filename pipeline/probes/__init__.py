"""What is learnt from labelled pixels: labels, samples, estimators, probes and their scores."""
