"""Pure thought: values, words and decisions. No I/O, no clock, no log, no framework; time is always an argument."""
