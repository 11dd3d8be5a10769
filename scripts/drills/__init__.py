"""`make drill-servers`: what befalls servers with several workers while they are under load. docs/drills.md says how to read it."""
