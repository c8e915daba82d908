"""Tables of pixel series: how they are read, checked, laid on calendars, made from cubes, written."""
