"""`pronghorn doctor`: a running deployment looked at from outside, line by line, each with the way out."""
