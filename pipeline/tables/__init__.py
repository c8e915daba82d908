"""Tables of pixel series: read, checked, laid on calendars, made from cubes, written."""
