"""The linear start of training: noise fractions of the bands, fitted by evidence."""
